"""The kind of an act follows from its name, in whatever style it is written; countries become codes."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.sources.countries import country_sql
from muniment.sources.deeds import DEEDS, deed_sql, deed_type_sql, ending_sql, named_sql
from muniment.sources.sql import quote

NAMES = {
    300101: "CreateUser user.created USER_CREATED User_added member-invited",
    300106: "user-deleted DELETE_USER org.user.invite.revoke",
    300111: "user.mfa.disabled TwoFactorAuthenticationDisabled reset_2fa",
    300110: "MFA_ENABLED passkey.registered",
    300103: "PASSWORD_CHANGED UserPasswordUpdated",
    300201: "UserLoggedIn LOGIN_FAILURE auth.failure signed_in admin_login",
    300202: "session.revoked user.signed_out Logout",
    300401: "api_key.created PersonalAccessTokenCreated project.created",
    300404: "access_token_revoked webhook.deleted",
    300403: "policy_updated sso_settings_changed two_factor_authentication.enforced",
    300501: "role_assigned admin_role_granted org_owner_added",
    300502: "ROLE_REVOKED admin.removed",
    300603: "member_added_to_team user_group_membership_added",
    600107: "workspace_exported data_export_started audit_log.export",
    0: "invoice.settled heartbeat",
}


@pytest.mark.parametrize(("type_uid", "names"), NAMES.items(), ids=lambda each: str(each)[:20])
def test_names_of_any_style_are_of_one_kind(type_uid: int, names: str, client: Any) -> None:
    listed = ", ".join(map(quote, names.split()))
    rows = client.query(f"SELECT n, {deed_type_sql('n')} FROM (SELECT arrayJoin([{listed}]) AS n)").result_rows
    assert {row[0]: row[1] for row in rows} == dict.fromkeys(names.split(), type_uid)


SENTENCES = {
    "app.delete": ["User anna deleted backup job Daily", 'User "EXAMPLE\\anna" has deleted backup job "Daily".', "Deleted backup job by user anna",
                   "Admin Deleted Workspace"],
    "app.disable": ["User Archived Channel"],
    "document.delete": ["User anna@example.com deleted document 7", "The admin anna has removed report 9"],
    "item.delete": ["User anna failed to delete backup"],
    "user.delete": ["User anna has deleted user eve", "User eve was deleted by anna", "User account deleted", "Deleted user eve by admin anna",
                    "User eve deleted successfully", "admin deleted user eve"],
    "user.create": ["Admin user created", "UserCreatedByAdmin", "User eve was created by user anna"],
    "user.disable": ['User "anna" disabled account "eve"', "user eve disabled"],
    "token.enable": ["User anna enabled API key k1"],
    "role.revoke": ["admin.removed", "admin removed role"],
}  # fmt: skip


@pytest.mark.parametrize(("deed", "texts"), SENTENCES.items(), ids=lambda each: each if isinstance(each, str) else "")
def test_who_acts_in_a_sentence_is_not_what_it_is_done_to(deed: str, texts: list[str], client: Any) -> None:
    listed = ", ".join(map(quote, texts))
    rows = client.query(f"SELECT n, {deed_sql('n')} FROM (SELECT arrayJoin([{listed}]) AS n)").result_rows
    assert {row[0]: row[1] for row in rows} == dict.fromkeys(texts, deed)


def test_the_names_we_give_are_of_the_kind_they_stand_for(client: Any) -> None:
    listed = ", ".join(quote(deed.name) for deed in DEEDS)
    rows = client.query(f"SELECT n, {deed_type_sql('n')} FROM (SELECT arrayJoin([{listed}]) AS n)").result_rows
    assert [deed.type_uid for deed in DEEDS] == [row[1] for row in rows]


@pytest.mark.parametrize(
    ("text", "named", "ending"),
    [("UserLoginFailed", "user_login_failed", "failure"), ("User: SignedIn", "user.signed_in", "success"), ("MFAReset", "mfa_reset", "")],
)  # fmt: skip
def test_a_name_is_taken_apart_and_says_how_it_ended(text: str, named: str, ending: str, client: Any) -> None:
    sql = quote(text)
    assert client.query(f"SELECT {named_sql(sql)}, {ending_sql(sql)}").result_rows[0] == (named, ending)


@pytest.mark.parametrize(
    ("text", "code"),
    [("nl", "NL"), ("DEU", "DE"), ("United States", "US"), ("South Korea", "KR"), (" Türkiye", "TR"), ("Atlantis", "")],
)
def test_a_country_is_its_code(text: str, code: str, client: Any) -> None:
    assert client.query(f"SELECT {country_sql(quote(text))}").result_rows[0][0] == code
