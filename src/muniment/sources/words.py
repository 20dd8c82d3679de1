"""Words of the trade to the numbers of OCSF, as SQL: outcomes, severities, and the class of an action noun.verb. Pure.

The tables are small on purpose: they serve events that say nothing of OCSF themselves (our own SDK's, free JSON). A
catalogue entry that knows its events states classes in its own cases.
"""

from __future__ import annotations

from typing import Final

from muniment.sources.deeds import deed_type_sql
from muniment.sources.sql import array, quote

__all__ = ["activity_sql", "camel_sql", "class_sql", "dotted_sql", "outcome_sql", "severity_sql", "type_sql"]

_OUTCOME: Final = {
    "success": "2xx 3xx success succeeded successful ok okay true allow allowed accept accepted grant granted pass passed permit "
    "permitted completed complete done 0 granted_access passed approved finished created updated deleted yes y "
    "ja oui si sí sim tak erfolgreich erfolg réussi succès éxito exitoso correcto riuscito sucesso gelukt geslaagd",
    "failure": "4xx 5xx failure failed fail error err false deny denied reject rejected block blocked forbidden unauthorized "
    "unauthorised invalid timeout timed_out aborted refused no n unsuccessful errored disallowed disallow quarantined dropped drop "
    "prevent prevented killed permission_denied permissiondenied access_denied unauthenticated auth_failed login_failed nein non nee não nao fehlgeschlagen fehler abgelehnt verweigert échec échoué refusé fallido rechazado denegado "
    "fallito negato falha mislukt geweigerd",
    "unknown": "unknown none partial skipped challenge",
}
_SEVERITY: Final = {
    1: "trace debug info information informational notice verbose ok finest finer fine config 6 7",
    2: "low minor 5",
    3: "warn warning medium moderate 4",
    4: "error err high severe major 3",
    5: "crit critical alert 2 1",
    6: "emerg emergency panic fatal 0",
}
_LOGON: Final = "login logon signin sign_in signed_in logged_in authenticate authenticated log_in"
_LOGOFF: Final = "logout logoff signout sign_out signed_out logged_out log_out"
_NOUNS: Final = {
    1: "user account identity person member_account service_account serviceaccount customer employee password mfa",
    2: "group team membership member",
    3: "role permission permissions privilege privileges grant access entitlement",
    4: "config configuration setting settings policy source key api_key apikey token secret rule ledger shard tenant "
    "organization organisation org project webhook integration certificate device application app store keys saved "
    "subject retention connector",
}
_ANY: Final = {
    1: "create created add added insert inserted new register registered invite invited open opened start started upload "
    "uploaded append appended submit submitted generate generated",
    2: "read view viewed get list listed show shown access accessed describe fetch download downloaded open_file unmask "
    "unmasked verify verified print printed",
    3: "update updated edit edited modify modified change changed patch set put rename renamed move moved approve "
    "approved reject rejected replace replaced restore restored write written close closed",
    4: "delete deleted remove removed destroy destroyed purge purged erase erased drop dropped trash trashed archive",
    5: "search searched query queried find",
    6: "import imported",
    7: "export exported",
    8: "share shared publish published send sent",
}
_USER: Final = {
    1: "create created add added register registered invite invited provision signup",
    2: "enable enabled activate activated reactivate reactivated unsuspend restore",
    3: "password_change password_changed change_password",
    4: "password_reset reset_password reset",
    5: "disable disabled deactivate deactivated suspend suspended block blocked",
    6: "delete deleted remove removed destroy erase erased deprovision",
    9: "lock locked lockout",
    10: "mfa_enable mfa_enabled enroll enrolled",
    11: "mfa_disable mfa_disabled unenroll",
    12: "unlock unlocked",
}
_GROUP: Final = {
    3: "add added add_member member_add join joined add_user invite invited",
    4: "remove removed remove_member member_remove leave left remove_user",
    5: "delete deleted destroy",
    6: "create created",
}
_ROLE: Final = {
    1: "grant granted assign assigned add added create created elevate",
    2: "revoke revoked unassign unassigned remove removed delete deleted expire expired",
}
_ENTITY: Final = {
    1: "create created add added register issue issued open opened new",
    2: "read view viewed get list show search export verify unmask",
    3: "update updated edit edited change changed set rotate rotated rename renamed modify modified",
    4: "delete deleted remove removed revoke revoked destroy erase erased",
    5: "move moved",
    8: "enable enabled",
    9: "disable disabled retire retired close closed",
    10: "activate activated start started",
    11: "deactivate deactivated stop stopped",
    12: "suspend suspended pause paused",
    13: "resume resumed",
}


def _transform(sql: str, table: dict[int, str], default: int) -> str:
    pairs = [(word, number) for number, line in table.items() for word in line.split()]
    return f"transform({sql}, {array([w for w, _ in pairs])}, {array([n for _, n in pairs])}, {default})"


def outcome_sql(sql: str) -> str:
    """'success', 'failure', 'unknown', or '' for a word that is none of the trade's."""
    pairs = [(word, outcome) for outcome, line in _OUTCOME.items() for word in line.split()]
    kind = f"if(match({sql}, '^[2345][0-9][0-9]$'), concat(substring({sql}, 1, 1), 'xx'), lower({sql}))"
    return f"transform({kind}, {array([w for w, _ in pairs])}, {array([o for _, o in pairs])}, '')"


def severity_sql(sql: str) -> str:
    """OCSF severity_id as a number, 0 for unknown words; bare digits are syslog's."""
    return _transform(f"lower({sql})", _SEVERITY, 0)


def dotted_sql(sql: str) -> str:
    r"""Lower case, `:`, `/` and blanks as dots: "User: Login" -> user.login."""
    return f"replaceRegexpAll(lower(trimBoth({sql})), '[:/ ]+', '.')"


_DONE_TO: Final = (
    "added removed created deleted updated changed modified edited requested completed started stopped ended joined left triggered exported imported "
    "viewed accessed shared unshared sent received opened closed enabled disabled renamed moved copied restored revoked granted denied approved "
    "rejected assigned unassigned installed uninstalled upgraded published unpublished scheduled cancelled canceled expired failed locked unlocked invited "
    "archived unarchived submitted reviewed uploaded downloaded synced printed signed recycled set cleared reset"
).split()
"""Verbs that stand behind what it was done to: `MemberAdded`."""


def camel_sql(sql: str) -> str:
    """A CamelCase name or words as noun.verb: "CreateAccessKey" -> access_key.create, "Disable Strong Authentication." ->
    strong_authentication.disable, "MemberAdded" -> member.added; one word is itself.
    """
    joined, swapped, behind = quote(r"\1_\2"), quote(r"\2.\1"), quote(r"\1.\2")
    parted = f"replaceRegexpAll({sql}, '([a-z0-9])([A-Z])', {joined})"
    snake = f"trim(BOTH '_' FROM lower(replaceRegexpAll({parted}, '[^A-Za-z0-9.]+|\\\\.$', '_')))"
    done = f"'^(.+)_({'|'.join(_DONE_TO)})$'"
    one = f"if(match(name, {done}), replaceRegexpOne(name, {done}, {behind}), replaceRegexpOne(name, '^([a-z0-9]+)_(.+)$', {swapped}))"
    return f"arrayElement(arrayMap(name -> {one}, [{snake}]), 1)"


def type_sql(action: str) -> str:
    """class_uid * 100 + activity_id: of the kind of act that the words say (`deeds`), else by noun and verb.

    A noun of the table outweighs a deed that names none (`source.create`).

    One table of verbs: two digits for the activity in each kind of class, the kind of the noun picks them.
    """
    verb = f"arrayElement(splitByChar('.', {action}), -1)"
    noun = f"arrayElement(splitByChar('.', {action}), -2)"
    tables = (_ANY, _USER, _GROUP, _ROLE, _ENTITY)
    numbers = [{word: number for number, line in table.items() for word in line.split()} for table in tables]
    verbs = sorted(set().union(*numbers))
    packed = [sum(table.get(one, 99) * 100**k for k, table in enumerate(numbers)) for one in verbs]
    sessions = dict.fromkeys(_LOGON.split(), 300201) | dict.fromkeys(_LOGOFF.split(), 300202)
    known = f"transform({verb}, {array(verbs)}, {array(packed)}, {100 ** len(tables) - 1})"
    kind = _transform(noun, _NOUNS, 0)
    by_noun = (
        f"multiIf({action} = '', 0, deed > 0 AND NOT (intDiv(deed, 100) = 6001 AND {kind} > 0), deed, {verb} IN ({', '.join(map(quote, sessions))}), "
        f"transform({verb}, {array(list(sessions))}, {array(list(sessions.values()))}, 0), "
        f"arrayElement([600100, 300100, 300600, 300500, 300400], {kind} + 1) + "
        f"modulo(intDiv({known}, arrayElement([1, 100, 10000, 1000000, 100000000], {kind} + 1)), 100))"
    )
    # The lambda names the deed once; written out its table would stand in the text three times.
    return f"arrayElement(arrayMap(deed -> {by_noun}, [{deed_type_sql(action)}]), 1)"


def class_sql(action: str) -> str:
    """The OCSF class of an action noun.verb; 0 (base event) when there is none."""
    return f"intDiv({type_sql(action)}, 100)"


def activity_sql(action: str) -> str:
    """The OCSF activity of an action noun.verb; 99 (other) for verbs outside the class's own."""
    return f"modulo({type_sql(action)}, 100)"
