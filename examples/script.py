"""A script that records what it does. MUNIMENT_URL, MUNIMENT_KEY and MUNIMENT_SPOOL say where to."""

import getpass

from muniment.sdk import Audit, context


def main() -> None:
    with Audit.from_environment() as audit, context(actor=getpass.getuser(), app="nightly-cleanup"):
        event_id = audit.log(
            action="account.disable",
            target={"type": "account", "id": "u-99", "name": "old contractor"},
            before={"state": "active"},
            after={"state": "disabled"},
            reason="no login for 90 days",
        )
        # Some things must not happen unrecorded: this waits for the ledger, and raises if it does not answer.
        receipt = audit.require("key.destroy", target="backup-2019")
        audit.flush()
        first = audit.receipt(event_id)
        assert first is not None
        print(f"entry {first.index} and entry {receipt.index}, under a checkpoint of {receipt.size} entries")


if __name__ == "__main__":
    main()
