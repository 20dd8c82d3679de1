"""What kind of act the name of an event says, in whatever style it is written, as SQL. Pure.

`CreateUser`, `user.created`, `USER_CREATED` and "Anna added a user" are one act. A name is taken apart into plain words;
then the first line of `DEEDS` that finds its words decides, so the particular stands above the general. The engine
looks for all words in one pass; a deed is a mask over what it found. Names that say nothing of the kind ("invoice.settled") are none.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from muniment.sources.sql import array, quote

__all__ = ["DEEDS", "Deed", "deed_sql", "deed_type_sql", "ending_sql", "named_sql"]


class Deed(NamedTuple):
    """A kind of act: the words that must all be there, the name we give it, and OCSF's class * 100 + activity."""

    words: str
    name: str
    type_uid: int


_SMALL: Final = r"(?: (?:an?|the|new|as|to|was|were|is|has been|been)){0,2} "
_NEW: Final = r"(?:creat\w*|add(?:s|ed)?|new|invit\w*|regist\w*)"
_GONE: Final = r"(?:delet\w*|remov\w*|revok\w*|left|leave)"
_ADMIN: Final = r"(?:admins?|administrators?|super ?admins?|super ?users?|owners?)"
_ENTITY: Final = (
    r"(?:organi[sz]ations?|orgs?|projects?|workspaces?|tenants?|sites?|spaces?|apps?|applications?|integrations?|"
    r"(?:web ?)?hooks?|connectors?|connections?|devices?|repositor(?:y|ies)|repos?|channels?|boards?|environments?|"
    r"databases?|instances?|clusters?|buckets?|pipelines?|workflows?|services?|licen[sc]es?|subscriptions?|billing|plans?|"
    r"blueprints?|playbooks?|queues?|topics?|sources?|stacks?|jobs?|servers?|hosts?|sensors?|snapshots?|volumes?|warehouses?|vaults?|safes?|networks?|gateways?|zones?|schedules?|monitors?|templates?|extensions?|plugins?|runners?|nodes?|registr(?:y|ies)|(?:api|oauth) clients?)"
)
_SOMEBODY: Final = r"^ ?(?:the |an? )?(?:user|admin|member|owner|somebody|someone)(?: \w+)? "

_SUBJECT: Final = (
    r"^ ?(?:the |an? )?(?:users?|admins?|administrators?|members?|operators?|accounts?|owners?|employees?)"
)
_ACTS: Final = (
    r"(?:creat|add|delet|remov|modif|updat|chang|edit|disabl|enabl|activat|deactivat|suspend|restor|block|unblock|renam|mov|import|export|"
    r"view|open|access|start|stop|archiv|purg|destroy|drop|terminat|eras|cancel|run|execut|install|uninstall|disconnect|publish|approv|"
    r"reject|submit|clear|revok)\w*"
)
_NO_NAMES: Final = (
    r"(?:accounts?|profiles?|roles?|groups?|passwords?|sessions?|access|permissions?|privileges?|settings?|preferences?|keys?|tokens?|api|mfa|2fa|"
    r"e ?mails?|log ?ins?|logon|logout|devices?|data|lists?|registrations?|invit\w+|names?|status|types?|ids?|info\w*|details?|records?|identit\w+|"
    r"certificates?|licen[sc]es?|public|interfaces?|agents?|pools?|attributes?|director\w+|photos?|images?|avatars?|teams?|memberships?|"
    r"management|assignments?|rights?|entitlements?|policy|policies|phone|address|authentication|credentials?|limits?|quotas?|home|service|was|were|"
    r"is|has been|been|from|to|by|successfully)"
)

_WORDS: Final = {
    "logout": r"(?:log(?:ged|s)? ?(?:out|off)|sign(?:ed|s)? ?(?:out|off)|session (?:end\w*|terminat\w*|expir\w*|clos\w*|destroy\w*|revok\w*|clear\w*|invalidat\w*|delet\w*|timed out|timeout)|(?:end\w*|terminat\w*|revok\w*|destroy\w*|clear\w*) (?:\w+ )?sessions?)",
    "impersonate": r"(?:impersonat\w*|(?:log(?:ged)? ?in|sign(?:ed)? ?in|act(?:ed|ing)?) as|assum(?:e|ed) (?:user|identity)|masquerad\w*)",
    "mfa": r"(?:mfa|2 ?fa|two ?factor|2 factor|second factor|multi ?factor|two step|2 step|2 ?sv|totp|otp|web ?authn|passkeys?|security keys?|authenticator|u ?2 ?f|fido ?2?|backup codes?|recovery codes?)",
    "enforce": r"(?:polic\w+|enforc\w*|requir\w*|mandatory|complexity|strength)",
    "reset": r"(?:reset\w*|forgot\w*|recover\w*|un ?enroll\w*)",
    "check": r"(?:challeng\w*|verif\w*|success\w*|approv\w*|push|prompt\w*|used|attempt\w*|sent)",
    "setup": r"set ?up",
    "password": r"pass(?:word|phrase|code|wd)s?",
    "login": r"(?:log ?in|logins|logged in|logged on|log ?on|logs in|sign ?in|signins|signed in|signs in|sign ?on|signed on|authenticat(?:e|es|ed|ion)|auth|sso|saml|session (?:start\w*|creat\w*|open\w*|establish\w*|begin|began|new)|(?:creat\w*|start\w*|new) session)",
    "fail": r"(?:fail\w*|denied|deny|invalid|incorrect|wrong|bad|unsuccess\w*|errors?|reject\w*|refus\w*|unauthori[sz]ed|block(?:ed)?|disallow\w*|not allowed|mismatch|brute force)",
    "lock": r"(?:lock|locked|lockout)",
    "unlock": r"unlock\w*",
    "setting": r"(?:settings?|configs?|configurations?|preferences?|polic(?:y|ies)|rules?|rulesets?|(?:feature )?flags?|(?:allow|block|white|black|deny) ?lists?|ip (?:ranges?|restrictions?)|domains?|retention|audit ?logs?|log streams?|logging|trails?|encryption|firewalls?|acls?|branch protections?|protected branch\w*|auth(?:entication)? (?:methods?|providers?))",
    "idp": r"(?:saml|sso|scim|oidc|idp|identity providers?|single sign on)",
    "scim_user": r"(?:scim|sso|saml|oidc|jit) (?:users?|accounts?|members?)",
    "signing": r"(?:oauth|log ?in|sign ?in|auth|authentication|saml|sso|oidc)",
    "part": r"(?:methods?|providers?|requirements?|restrict\w*|enforc\w*|require\w*|pages?|endpoints?|connections?|mode|config\w*)",
    "group": r"(?:groups?|teams?|squads?|distribution lists?)",
    "member": r"(?:members?|memberships?|users?|people|collaborators?|persons?)",
    "joins": r"(?:add\w*|assign\w*|invit\w*) (?:(?:user|member|account) )?[^ ]+ to (?:the )?(?:groups?|teams?)",
    "leaves": r"remov\w* (?:(?:user|member|account) )?[^ ]+ from (?:the )?(?:groups?|teams?)",
    "add": r"(?:add(?:s|ed|ing)?|join\w*|invit\w*|assign\w*)",
    "key": r"(?:keys?|key ?pairs?|tokens?|pats?|secrets?|credentials?|certificates?|certs?|oauth ?2? (?:apps?|applications?|clients?|grants?|consents?))",
    "role": r"(?:roles?|permissions?|privileges?|entitlements?|rbac|ownership|iam policy|access (?:levels?|rights?|controls?)|user grants?)",
    "admin": _ADMIN,
    "access": r"access",
    "asks": r"access requests?",
    "approve": r"approv\w*",
    "admin_gone": rf"(?:{_GONE}{_SMALL}{_ADMIN}|{_ADMIN}{_SMALL}{_GONE})",
    "admin_new": rf"(?:{_NEW}{_SMALL}{_ADMIN}|{_ADMIN}{_SMALL}{_NEW})",
    "admin_unmakes": rf"^ ?(?:the )?{_ADMIN} (?:has )?{_GONE} (?:the |an? )?(?:users?|accounts?|members?)",
    "admin_makes": rf"^ ?(?:the )?{_ADMIN} (?:has )?{_NEW} (?:the |an? )?(?:users?|accounts?|members?)",
    "withdraw": r"(?:revok\w*|unassign\w*|demot\w*|unset|withdr[ae]wn?)",
    "grant": r"(?:grant\w*|assign\w*|elevat\w*|promot\w*|given|escalat\w*)",
    "detach": r"detach\w*",
    "attach": r"attach\w*",
    "allow": r"authori[sz]\w*",
    "create": r"(?:creat\w*|add(?:s|ed|ing)?|new|regist\w*|generat\w*|insert\w*|issued?|issuing|enroll?\w*|provision\w*|install\w*|upload\w*|import\w*|connect(?:ed)?|link(?:ed)?)",
    "invite": r"(?:invit\w*|sign ?up|signed up|join\w*|onboard\w*)",
    "decline": r"(?:cancel\w*|declin\w*)",
    "delete": r"(?:delet\w*|remov\w*|destroy\w*|destruct\w*|revok\w*|terminat\w*|purg\w*|drop(?:s|ped)?|deprovision\w*|unregist\w*|uninstall\w*|eras\w*|expir\w*|disconnect\w*|unlink\w*|trash\w*|invalidat\w*|leave|left)",
    "update": r"(?:updat\w*|chang\w*|modif\w*|edit(?:s|ed|ing)?|set|renam\w*|patch\w*|put|replac\w*|rotat\w*|mov(?:e|es|ed)|configur(?:e|ed|es|ing)|alter\w*|rewrit\w*|transfer\w*|convert\w*|regenerat\w*|renew\w*|save[ds]?|upgrad\w*|downgrad\w*|adjust\w*|roll\w*)",
    "restore": r"(?:restor\w*|unsuspend\w*|unblock\w*|re ?activat\w*)",
    "enable": r"(?:enabl\w*|activat\w*|turn(?:ed)? on|start(?:ed)?|resum\w*)",
    "disable": r"(?:disabl\w*|deactivat\w*|suspend\w*|suspension|turn(?:ed)? off|switch(?:ed)? off|paus\w*|stop(?:ped)?|archiv\w*)",
    "block": r"(?:block(?:ed)?|bann(?:ed)?)",
    "read": r"(?:view\w*|reads?|gets?|lists?|listed|access(?:ed)?|show\w*|fetch\w*|retriev\w*|describ\w*|reveal\w*|decrypt\w*|cop(?:y|ied)|open(?:ed)?|preview\w*|print\w*)",
    "export": r"(?:export\w*|takeout|dump(?:ed)?)",
    "download": r"download\w*",
    "import": r"import\w*",
    "search": r"(?:search\w*|query|queried|queries)",
    "share": r"(?:shar(?:e|es|ed|ing)|publish\w*|public)",
    "document": r"(?:files?|folders?|documents?|docs?|pages?|reports?|records?|data|issues?|tickets?|tasks?|items?|attachments?|messages?|comments?|dashboards?|designs?|tables?|objects?|entries|entry|notes?|links?)",
    "user": r"(?:users?|accounts?|members?|persons?|people|employees?|identity|identities|guests?|collaborators?|profiles?|contacts?|customers?|operators?|agents?|seats?|subaccounts?|principals?|admins?|administrators?|e ?mails?)",
    "entity": _ENTITY,
    "makes": rf"{_SOMEBODY}{_NEW} (?:an? |the |new )*{_ENTITY}",
    "unmakes": rf"{_SOMEBODY}{_GONE} (?:an? |the |new )*{_ENTITY}",
}  # fmt: skip
"""Words of one meaning, as a pattern for whole words of a name taken apart. Single words are found once for all deeds."""

DEEDS: Final = (
    Deed("logout", "user.logout", 300202),
    Deed("impersonate", "user.impersonate", 300207),
    Deed("mfa enforce", "policy.update", 300403),
    Deed("mfa disable", "user.mfa_disable", 300111),
    Deed("mfa delete", "user.mfa_disable", 300111),
    Deed("mfa reset", "user.mfa_disable", 300111),
    Deed("mfa fail", "user.mfa", 300206),
    Deed("mfa check", "user.mfa", 300206),
    Deed("mfa enable", "user.mfa_enable", 300110),
    Deed("mfa create", "user.mfa_enable", 300110),
    Deed("mfa update", "user.mfa_enable", 300110),
    Deed("mfa setup", "user.mfa_enable", 300110),
    Deed("mfa", "user.mfa", 300206),
    Deed("password enforce", "policy.update", 300403),
    Deed("password reset", "user.password_reset", 300104),
    Deed("password update", "user.password_change", 300103),
    Deed("login fail", "user.login", 300201),
    Deed("password fail", "user.login", 300201),
    Deed("user unlock", "user.unlock", 300112),
    Deed("user lock", "user.lock", 300109),
    Deed("scim_user delete", "user.delete", 300106),
    Deed("scim_user disable", "user.disable", 300105),
    Deed("scim_user create", "user.create", 300101),
    Deed("setting disable", "setting.disable", 300409),
    Deed("setting enable", "setting.enable", 300408),
    Deed("idp disable", "setting.disable", 300409),
    Deed("idp enable", "setting.enable", 300408),
    Deed("signing part", "setting.update", 300403),
    Deed("signing setting", "setting.update", 300403),
    Deed("idp update", "setting.update", 300403),
    Deed("idp create", "setting.create", 300401),
    Deed("idp delete", "setting.delete", 300404),
    Deed("joins", "group.add_user", 300603),
    Deed("leaves", "group.remove_user", 300604),
    Deed("group member add", "group.add_user", 300603),
    Deed("group member delete", "group.remove_user", 300604),
    Deed("key delete", "token.delete", 300404),
    Deed("key update", "token.update", 300403),
    Deed("key disable", "token.disable", 300409),
    Deed("key enable", "token.enable", 300408),
    Deed("key create", "token.create", 300401),
    Deed("key grant", "token.create", 300401),
    Deed("key allow", "token.create", 300401),
    Deed("admin_unmakes", "user.delete", 300106),
    Deed("admin_makes", "user.create", 300101),
    Deed("asks approve", "role.grant", 300501),
    Deed("asks create", "access_request.create", 300401),
    Deed("asks", "access_request.update", 300403),
    Deed("role withdraw", "role.revoke", 300502),
    Deed("admin withdraw", "role.revoke", 300502),
    Deed("access withdraw", "role.revoke", 300502),
    Deed("role grant", "role.grant", 300501),
    Deed("admin grant", "role.grant", 300501),
    Deed("access grant", "role.grant", 300501),
    Deed("role delete", "role.revoke", 300502),
    Deed("role detach", "role.revoke", 300502),
    Deed("admin_gone", "role.revoke", 300502),
    Deed("role create", "role.grant", 300501),
    Deed("role invite", "role.grant", 300501),
    Deed("role attach", "role.grant", 300501),
    Deed("admin_new", "role.grant", 300501),
    Deed("role update", "role.change", 300501),
    Deed("role enable", "role.grant", 300501),
    Deed("key read", "token.read", 300402),
    Deed("setting delete", "setting.delete", 300404),
    Deed("setting update", "setting.update", 300403),
    Deed("setting create", "setting.create", 300401),
    Deed("group create", "group.create", 300606),
    Deed("group delete", "group.delete", 300605),
    Deed("group update", "group.update", 300699),
    Deed("group disable", "group.update", 300699),
    Deed("export", "data.export", 600107),
    Deed("download", "data.download", 600102),
    Deed("makes", "app.create", 300401),
    Deed("unmakes", "app.delete", 300404),
    Deed("document delete", "document.delete", 600104),
    Deed("document share", "document.share", 600108),
    Deed("document update", "document.update", 600103),
    Deed("document import", "item.import", 600106),
    Deed("document create", "document.create", 600101),
    Deed("document read", "document.read", 600102),
    Deed("invite delete", "user.invite_revoke", 300106),
    Deed("invite decline", "user.invite_cancel", 300106),
    Deed("invite", "user.invite", 300101),
    Deed("login", "user.login", 300201),
    Deed("user delete", "user.delete", 300106),
    Deed("user restore", "user.restore", 300102),
    Deed("user disable", "user.disable", 300105),
    Deed("user enable", "user.enable", 300102),
    Deed("user block", "user.block", 300105),
    Deed("user create", "user.create", 300101),
    Deed("user update", "user.update", 300199),
    Deed("share", "data.share", 600108),
    Deed("entity delete", "app.delete", 300404),
    Deed("entity disable", "app.disable", 300409),
    Deed("entity update", "app.update", 300403),
    Deed("entity create", "app.create", 300401),
    Deed("entity enable", "app.enable", 300408),
    Deed("delete", "item.delete", 600104),
    Deed("import", "item.import", 600106),
    Deed("search", "item.search", 600105),
    Deed("restore", "item.restore", 600103),
    Deed("update", "item.update", 600103),
    Deed("create", "item.create", 600101),
    Deed("read", "item.read", 600102),
)
"""The first whose words are all there counts."""

_USER: Final = _WORDS["user"]
_OF_DOERS: Final = {
    "does": rf"(?:{_SUBJECT}(?: \w+){{1,4}}? (?:has |have )?(?:success\w+ )?(?:(?:fail\w*|tri\w+|attempt\w*) to )?{_ACTS} \w+"
    rf"|{_SUBJECT} {_ACTS} (?:(?:the|an?|new|own) )*{_ENTITY})",
    "does_not": rf"(?:{_SUBJECT} {_NO_NAMES}|{_SUBJECT}(?: \w+){{1,4}}? (?:was|were|is|been|be|successfully) {_ACTS}"
    rf"|{_SUBJECT}(?: \w+){{1,4}}? {_ACTS} (?:by|from|via|in|on|at|for|through|with|to|successfully|as|due|because|after|and)"
    rf"|{_SUBJECT}(?: \w+){{1,4}}? {_ACTS} (?:\w+ ){{0,4}}?{_USER})",
    "by_user": r"by (?:the )?(?:user|admin|administrator|operator|account|member)",
    "user_by_user": rf"{_USER}\b.* by (?:the )?(?:user|admin|administrator|operator|account|member)",
}
"""Where a sentence names who acts ("User anna deleted a backup job"), its `user` is not what it is done to."""

_DOERS: Final = (("does", "does_not"), ("by_user", "user_by_user"))
_BITS: Final = {word: 1 << number for number, word in enumerate((*_WORDS, *_OF_DOERS))}
_PATTERNS: Final = [
    rf"{pattern}\b" if "^" in pattern else rf"\b{pattern}\b" for pattern in (*_WORDS.values(), *_OF_DOERS.values())
]

_FAILED: Final = (
    r"\b(?:fail\w*|failure|denied|rejected|refused|declined|unsuccessful\w*|invalid|incorrect|unauthori[sz]ed|"
    r"not (?:been |yet |be )?(?:success\w*|accepted|granted|authori[sz]ed|authenticated|allowed|permitted))\b"
)
_DONE: Final = r"\b(?:succe\w+|logged (?:in|on|out|off)|signed (?:in|on|out|off)|authenticated|accepted|granted)\b"


def _split_sql(sql: str) -> str:
    """CamelCase taken apart: "MFADisabledForUser" -> "MFA_Disabled_For_User"."""
    joined = quote(r"\1_\2")
    inner = f"replaceRegexpAll({sql}, '([A-Z]+)([A-Z][a-z])', {joined})"
    return f"replaceRegexpAll({inner}, '([a-z0-9])([A-Z])', {joined})"


def named_sql(sql: str) -> str:
    """Lower case, CamelCase with underscores, `:`, `/` and blanks as dots: "User: LoginFailed" -> user.login_failed."""
    return f"replaceRegexpAll(lower({_split_sql(f'trimBoth({sql})')}), '[:/ ]+', '.')"


def _words_sql(sql: str) -> str:
    return f"replaceRegexpAll(lower({_split_sql(sql)}), '[^a-z0-9]+', ' ')"


def _line_sql(sql: str) -> str:
    """Which line of `DEEDS` a name is of, from 1; 0 for none."""
    found = f"arraySum(arrayMap(i -> bitShiftLeft(toUInt64(1), i - 1), multiMatchAllIndices({_words_sql(sql)}, {array(_PATTERNS)})))"
    needed = array([sum(_BITS[word] for word in deed.words.split()) for deed in DEEDS])
    does, by = (f"(bitAnd(f, {_BITS[says] + _BITS[denies]}) = {_BITS[says]})" for says, denies in _DOERS)
    doers = sum(_BITS[word] for word in ("user", "admin", "admin_new", "admin_gone"))
    about = f"arrayMap(f -> if({does} OR {by}, bitAnd(f, bitNot(toUInt64({doers}))), f), [{found}])"
    return f"arrayElement(arrayMap(m -> arrayFirstIndex(n -> bitAnd(m, n) = n, {needed}), {about}), 1)"


def deed_sql(sql: str) -> str:
    """Our name for the act that a sentence or a vendor's name says, '' for none."""
    return f"arrayElement({array([deed.name for deed in DEEDS])}, {_line_sql(sql)})"


def deed_type_sql(sql: str) -> str:
    """class_uid * 100 + activity_id of the act that a name says, 0 for none. Our own names are looked up: that costs nothing."""
    types = {deed.name: deed.type_uid for deed in DEEDS}
    known = f"transform({sql}, {array(list(types))}, {array(list(types.values()))}, 0)"
    found = f"arrayElement({array([deed.type_uid for deed in DEEDS])}, {_line_sql(sql)})"
    # A sum: in an `if` that hands on `known`, which is worked out here, the engine works the other out for all rows (measured: 5 us each).
    return f"({known} + if({known} > 0, 0, {found}))"


def ending_sql(sql: str) -> str:
    """How a name itself says that it ended: 'success', 'failure' or ''."""
    words = _words_sql(sql)
    return f"multiIf(match({words}, {quote(_FAILED)}), 'failure', match({words}, {quote(_DONE)}), 'success', '')"
