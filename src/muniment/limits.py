"""Every bound in Muniment, with the reason it has that value. A leaf module; rooms import names from here."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- one record -------------------------------------------------------------------------------------------------
RECORD_BYTES_MAX: Final = 1 * MIB
"""One event's JSON text. The largest real audit events seen (Microsoft 365, Kubernetes patches) are below 300 KiB."""

LEAF_BYTES_MAX: Final = 65_535
"""C2SP tlog-tiles: an entry in a bundle has a 16-bit length prefix."""

PRODUCER_ID_CHARS_MAX: Final = 512
"""A producer's own event id; longer ids are not ids. Okta's and CloudTrail's are 36."""

SOURCE_ID_CHARS_MAX: Final = 64
"""A source id is typed by people and stands in every leaf."""

JSON_DEPTH_MAX: Final = 64
"""Deeper than any real audit event, far above the recursion that parsers allow."""

# --- one request ------------------------------------------------------------------------------------------------
BODY_BYTES_MAX: Final = 64 * MIB
"""A decoded request body: 10,000 events of 6 KiB. Beyond it the sender must split (413)."""

BODY_RATIO_MAX: Final = 100
"""Decoded : encoded size. Repetitive NDJSON reaches 30 : 1 with zstd; bombs reach 1,000 : 1 and more."""

BODY_RATIO_FREE_BYTES: Final = 1 * MIB
"""Below this decoded size the ratio is not looked at: tiny highly repetitive bodies are harmless."""

PACKED_BYTES_MAX: Final = 8 * MIB
"""What a packed delivery inside a body may unpack to: CloudWatch packs at most 1 MiB of events, at 10 : 1 or so."""

PACKED_RATIO_MAX: Final = 30
"""Its unpacked : packed size. A body is full of such deliveries at worst, so this bounds what one body becomes."""

# --- one batch of the writer ------------------------------------------------------------------------------------
BATCH_EVENTS_MAX: Final = 5_000
BATCH_BYTES_MAX: Final = 8 * MIB
BATCH_WAIT_MS: Final = 50
"""ARCHITECTURE section 2: a batch closes at 50 ms, 5,000 events or its bytes; one fdatasync per batch."""

PENDING_BYTES_MAX: Final = 48 * MIB
"""What doors may hold un-acknowledged in memory. Past it they answer BusyError (R12: RSS stays bounded)."""

PACK_ENTRIES: Final = 65_536
"""ARCHITECTURE section 3: one Parquet pack is 256 full bundles."""

DISK_RESERVE_BYTES: Final = 64 * MIB
"""R4: kept free so that reads, verify and the `disk.full` record still work."""

# --- syslog -----------------------------------------------------------------------------------------------------
SYSLOG_MESSAGE_BYTES_MAX: Final = 128 * KIB
"""One syslog message. RFC 5425 asks for 8 KiB, rsyslog's default is 8 KiB, syslog-ng's 64 KiB; the record holds it twice."""

SYSLOG_COUNT_MAX: Final = 64 * MIB
"""A larger RFC 6587 count is not a count. Up to it an over-long frame is quarantined piece by piece."""

# --- doors and pipeline -----------------------------------------------------------------------------------------
BATCH_EARLY_EVENTS: Final = 1_000
"""While the writer is busy, the next batch is protected ahead of time from this size on; smaller ones keep growing."""

PENDING_EVENT_BYTES: Final = 256
"""What one waiting event costs beside its bytes (list slots, object headers), for the memory bound."""

INTERNAL_RESERVE_BYTES: Final = 8 * MIB
"""On top of PENDING_BYTES_MAX, for our own records only: an overload must still be able to record itself."""

STORAGE_RETRY_MS: Final = 5_000
"""Retry-After when the disk refuses: an operator has to act, so hammering every second helps nobody."""

BODY_THREAD_BYTES: Final = 64 * KIB
"""Bodies above are decoded off the event loop (a 64 KiB body takes about 0.3 ms), so others keep being answered."""

BODY_ROOM_WAIT_MS: Final = 500
"""How long a body above BODY_THREAD_BYTES waits, unread, for room under PENDING_BYTES_MAX before it is refused."""

BODY_CHUNK_BYTES: Final = 1 * MIB
"""Step of decompression: bounds and ratio are looked at after each."""

AUTH_CACHE_SECONDS: Final = 30
"""How long a revoked key may still pass when nobody called `forget`; a lookup costs a database read."""

AUTH_CACHE_ENTRIES_MAX: Final = 10_000
"""Cached verdicts, good and bad, oldest dropped: 2 MB."""

TOKEN_CHARS_MAX: Final = 4_096
"""Longer credentials are refused unread. Our keys have about 60 characters."""

HEC_CHANNELS_MAX: Final = 10_000
"""HEC channels remembered for acknowledgement polling; one a client process. The oldest is forgotten (acks false)."""

HEC_ACK_IDS_MAX: Final = 100_000
"""Ack ids asked about in one request; Vector asks for at most 1,000."""

JOURNAL_ENTRY_BYTES_MAX: Final = 16 * MIB
"""One journal entry in export format; core dumps in fields reach megabytes. Longer streams are refused."""

JOURNAL_BATCH_ENTRIES: Final = 1_000
"""An endless upload is handed to the pipeline in pieces of this many entries, or sooner when the sender pauses."""

JOURNAL_PAUSE_MS: Final = 200
"""A pause of the uploading journal after which what has arrived is sealed without waiting for more."""

OTLP_JSON_VALUE_DEPTH_MAX: Final = 32
"""Nesting of OTLP AnyValue; each level is two levels of JSON, so 32 stays within JSON_DEPTH_MAX."""

GRPC_STREAMS_MAX: Final = 256
"""Concurrent exports a gRPC connection may hold open."""

FORWARDED_HOPS_MAX: Final = 20
"""Addresses read from X-Forwarded-For or Forwarded, from the nearest; more is not a proxy chain."""

REJECTION_KEYS_MAX: Final = 10_000
"""Distinct (source, door, reason) rejection counters between two reports; further ones share `other`."""

SYSLOG_BATCH_MESSAGES_MAX: Final = 2_000
"""Messages of one connection submitted as one arrival: about 10 ms of parsing, so other connections get their turn."""

SYSLOG_GATHER_MS: Final = 5
"""How long a door waits for more when little was read. Small beside BATCH_WAIT_MS, long enough to fill a batch."""

SYSLOG_READ_BYTES_MAX: Final = 1 * MIB
"""Read and not yet submitted, per connection; past it the socket is not read and TCP slows the sender."""

SYSLOG_UDP_READ_BYTES_MAX: Final = 8 * MIB
"""The same for one UDP socket; past it the kernel buffer fills, drops and counts, and the loss becomes an event."""

SYSLOG_UDP_RCVBUF_BYTES: Final = 16 * MIB
"""Asked of the kernel: half a second at 50,000 messages of 600 bytes a second."""

SYSLOG_UDP_PEERS_CACHED_MAX: Final = 4_096
"""Peers whose source is remembered; addresses can be forged, so the table is bounded."""

SYSLOG_CONNECTIONS_MAX: Final = 2_000
"""Of one listener: with SYSLOG_READ_BYTES_MAX rarely full, below the usual limit of 4,096 open files."""

SYSLOG_CONNECTIONS_PER_PEER_MAX: Final = 128
"""A relay opens one per worker; more from one address is a leak or an attack."""

SYSLOG_HANDSHAKE_S: Final = 15.0
"""A TLS handshake takes milliseconds; slow links take seconds."""

SYSLOG_PARTIAL_IDLE_S: Final = 60.0
"""A frame begun must go on within this time, else the connection is closed and the piece quarantined."""

SYSLOG_IDLE_S: Final = 86_400.0
"""A silent connection. Long on purpose: plain TCP senders lose what they write into a connection closed under them."""

SYSLOG_STORAGE_WAIT_S: Final = 1.0
"""After a storage error UDP is not read for this long: reading would only lose what the kernel may still hold."""

SYSLOG_HELD_BYTES_MAX: Final = 64 * MIB
"""Read and not yet submitted over all stream connections; past it each connection is read only when it is empty."""

SYSLOG_DRAIN_S: Final = 1.5
"""At shutdown: how long senders have to notice that we stop. rsyslog looks before each write, syslog-ng at once."""

# --- search ------------------------------------------------------------------------------------------------------
SEARCH_CONNECTIONS: Final = 4
"""Reads at the same time. With 2 cores a fifth only slows the other four; it waits, then gets BusyError."""

SEARCH_TIMEOUT_MS: Final = 20_000
"""The longest a person waits for one search; exports stream and have their own clock."""

SEARCH_EXPORT_TIMEOUT_MS: Final = 120_000
"""One chunk of an export, of which there may be many."""

PROJECTOR_START_FILL_MAX: Final = 50_000
"""Entries filled into the store before a server answers: about a second. More than that fills up behind it."""

SEARCH_SERVER_BYTES_MAX: Final = 900 * MIB
"""All memory of the embedded engine; with 250 MiB of code and Python it stays below 1.5 GiB (the issue's goal)."""

SEARCH_QUERY_BYTES_MAX: Final = 400 * MIB
"""One query; group-by and sort spill to disk at half of it."""

QUERY_CHARS_MAX: Final = 4_096
"""A query people or rules write. Sigma's longest rendered rules are near 3,000."""

QUERY_DEPTH_MAX: Final = 64
"""Nested parentheses; a stack of people's thought is far lower."""

SEARCH_ROWS_MAX: Final = 1_000
"""One page of results; more is an export."""

FACET_VALUES_MAX: Final = 100
"""Values of one facet that a page can still show."""

HISTOGRAM_BUCKETS_MAX: Final = 1_000
"""Hours of a month are 744; a screen cannot tell more bars apart."""

EXPORT_CHUNK_ROWS: Final = 10_000
"""Rows in memory at once while exporting: about 10 MiB."""

PROJECTOR_QUEUE_BYTES_MAX: Final = 48 * MIB
"""Clear records waiting for the store; past it they are dropped and read again from the ledger."""

PROJECTOR_BLOCK_EVENTS_MAX: Final = 32_768
"""One insert: large enough that parts are few, small enough to be visible within a second."""

PROJECTOR_BLOCK_BYTES_MAX: Final = 32 * MIB
"""One insert in bytes, for sources with large events."""

EASE_S: Final = 0.5
"""So long the writer waits before a batch, at most, while the store or the rules are behind: what is acknowledged should soon be
found and looked at, and a store that hangs must stop nobody.
"""

PROJECTOR_EASE_BYTES: Final = 16 * MIB
"""With more than this in its queue the store is behind."""

DETECT_EASE_EVENTS: Final = 15_000
"""With more than this readable and not evaluated the rules are behind."""

DETECT_EASE_EVENTS_MAX: Final = 400_000
"""And with more than this they catch up with the past, for which nobody waits."""

PROJECTOR_WAIT_MS: Final = 300
"""How long an event waits for company before it is inserted, at least."""

PROJECTOR_WAIT_MAX_MS: Final = 800
"""And at most; visible p99 stays below 2 s."""

PROJECTOR_WAIT_WRITES: Final = 10
"""Between the two: this many times what the last insert took, so that a trickle of events of many formats costs a tenth
of a core and not half of one."""

LATE_S: Final = 300
"""An event that says it happened more than five minutes before we received it is marked late."""

TOGETHER_ENTRIES_MAX: Final = 16_384
"""How far back, in entries of the ledger, a record may learn from others of its event: three batches of the writer. A host
sends the records of one event within milliseconds; a restart reads back as many."""

TOGETHER_BYTES_MAX: Final = 8 * MIB
"""Text of records kept for later ones of their events: 16,000 of ordinary length."""

TOGETHER_TEXT_CHARS_MAX: Final = 2_048
"""Kept of one record: a system call is 500, and only command lines are longer."""

TOGETHER_EARLIER_CHARS_MAX: Final = 4_096
"""What a record sees of the ones before it: some events have hundreds of records (a kernel module), and each would see all before
it. Of more than that it sees the oldest and the newest, half each: a connection's first record says from where, its last login who."""

TAIL_ROWS_MAX: Final = 500
"""Rows of one live-tail answer; what is above waits for the next."""

# --- pages ------------------------------------------------------------------------------------------------------
PAGE_JSON_CHARS_MAX: Final = 256 * KIB
"""Of one record laid out on a page; the browser stays quick, the download has all."""

PAGE_ALERTS_MAX: Final = 1_000
"""Alerts a page folds into cards, the first by its order; it says how many it left out."""

PAGE_CARDS: Final = 50
"""Cards of alerts on a page: what an analyst goes through before the list is another one."""

PAGE_RULES_MAX: Final = 500
"""Rules in one list; with the public collections there are thousands, which are found by words."""

PAGE_PICKS_BYTES_MAX: Final = 64 * KIB
"""A form that closes picked alerts: `ALERTS_AT_ONCE_MAX` ids of 36 characters, and a reason."""

PAGE_FORM_BYTES_MAX: Final = 16 * KIB
"""A posted form: a query of 4 KiB in percent-encoding and a few short fields."""

PAGE_TEXT_BYTES_MAX: Final = MIB
"""A posted form that holds a catalogue entry, in percent-encoding."""

PAGE_QUERY_CHARS_MAX: Final = 4_096
"""A query in a page's address, as in the API."""

PAGE_ROWS: Final = 50
"""Rows a page shows at first; a screen holds about thirty."""

PAGE_COLUMNS_MAX: Final = 12
"""Chosen columns; more do not fit any screen."""

PAGE_PINS_MAX: Final = 8
"""Fields one reader pins beside the rows; each is one more count for every page."""

API_BODY_BYTES_MAX: Final = 256 * KIB
"""A request to the API is a few hundred bytes; events come in through the doors."""

COMPLETE_RECORDED_EVERY_S: Final = 600.0
"""Completion asks at every key; that somebody looked through a field's values is written down this often."""

COMPLETE_RECORDED_MAX: Final = 10_000
"""Pairs of reader and field that are remembered for it; past it, each look is written down."""

SUBJECT_KEYS_CACHED_MAX: Final = 100_000
"""Unwrapped subject keys kept in memory, oldest dropped: about 40 MB; a miss costs one indexed read and an unwrap."""

SEAL_PATTERNS_AT_ONCE_MIN: Final = 4
"""From so many patterns over one text on, they are tried together; a few are quicker one by one."""

SEAL_PATTERNS_BYTES_MAX: Final = 40 << 20
"""Memory for trying them together, for each place of a source's plan; where it does not do, they are tried one by one.

A little too small, and the engine works its states out again for each text: a line of syslog cost 1.3 ms instead of 0.2."""

SEAL_MENTION_CHARS_MIN: Final = 5
"""Shorter personal values are hidden where they are a whole value, not inside other texts: `bob` is also a word."""

HEARTBEAT_S: Final = 60
"""INTEGRITY.md 2.13: an idle ledger says so once a minute, so that a cut-off end is noticed."""

SEAL_WORKER_RECORDS_MIN: Final = 200
"""Sealed records in a batch that are worth the way to the worker process: about 5 ms of work there, 0.3 ms of way."""

SEAL_WORKER_ANSWER_S: Final = 30.0
"""A worker that is silent for so long is taken for dead; a full batch takes it half a second."""

QUIET_EVENTS_PER_S: Final = 5_000
"""Below this a server has time to compress packs harder: 15 us an event, a tenth of one core at this rate."""

# --- detection ------------------------------------------------------------------------------------------------------
DETECT_BATCH_EVENTS_MAX: Final = 10_000
"""Events that rules are run over at a time, what a full load brings in half a second: a quarter of a second of work, 10 MB of
texts."""

DETECT_WORKER_START_S: Final = 60.0
"""A worker that says nothing for so long after its start is taken for dead; it takes a second on a quiet machine."""

DETECT_WORKER_ANSWER_S: Final = 180.0
"""The same for one that is at work: a range takes it a quarter of a second, a warm-up of full windows 20 s."""

DETECT_SHAPES_MAX: Final = 50_000
"""Kinds of events (`detect.shapes`) for which is remembered what follows from them; 1 kB each."""

DETECT_NEW_SHAPES_MAX: Final = 100
"""Kinds decided anew in one batch, a millisecond each with 350 rules; events of more kinds are tried one by one."""

DETECT_LATENESS_S: Final = 3_600
"""How late an event may come and still be put into the windows it belongs to; shippers are seldom away for longer."""

DETECT_WARM_UP_EVENTS_MAX: Final = 500_000
"""Matches of each base rule read again at a start or for a back-test, newest first; 20 s of work."""

DETECT_HISTORY_PART_EVENTS: Final = 100_000
"""So many matches of history are in memory at once, some 100 MB; all of seven busy rules at once were 900 MB."""

DETECT_HISTORY_STEP: Final = 8_192
"""Matches of history are counted by so many records of the ledger, to see where a part ends; a granule of the store."""

DETECT_DENSE_EVENTS_MIN: Final = 20_000
"""From so many matches on a back-test of a correlation asks first which groups can fire; fewer are fed in less time."""

DETECT_DENSE_GROUPS_MAX: Final = 1_000
"""So many groups are named in the query for their matches; where more can fire, all matches are read."""

TRIAL_EVENTS_MAX: Final = 100_000
"""Events of one trial of `muniment rules test`; a rule that needs more to be tried is tried over history."""

CORRELATION_GROUPS_MAX: Final = 100_000
"""Combinations of values one correlation watches (addresses of a botnet, all accounts); 100 MB with ten matches each."""

CORRELATION_MATCHES_MAX: Final = 10_000
"""Matches kept for one combination; thresholds are in the tens, and a flood has fired long before."""

ALERT_GAP_S: Final = 3_600
"""Matches of one rule for the same who and where that are no further apart are one alert."""

ALERT_EVIDENCE_MAX: Final = 200
"""Events an alert names: the first half and the newest half; all are found by its search."""

ALERT_VALUES_MAX: Final = 50
"""Accounts, addresses, hosts, targets an alert names of each."""

ALERT_REWRITE_S: Final = 60
"""An alert that grows is written again when it has doubled, or after so long."""

ALERTS_KEPT_MAX: Final = 10_000
"""Alerts in memory, newest first; older ones are found by searching."""

ALERT_STEPS_MAX: Final = 100
"""What people did with one alert and wrote to it; the newest are kept in it, all stand in the ledger."""

ALERTS_AT_ONCE_MAX: Final = 500
"""Alerts that one request may close: a morning's worth of one noisy rule."""

ADMITTED_ROWS_MAX: Final = 2_000
"""Successful logins looked at for the alerts of one page, the newest; an office behind one address makes hundreds."""

RULE_TALLY_DAYS: Final = 31
"""How long the hourly counts of a rule are kept: 24 rows a day for each rule that matched."""

FEEDING_DAYS: Final = 7
"""A source that sent nothing a rule could be about for so long does not feed it; weekends are no gap."""

FEEDING_EVERY_S: Final = 300.0
"""How old the look at what feeds which rule may be, however long it takes."""

FEEDING_SHARE: Final = 0.01
"""Of the time, at most, for looking at what feeds which rule: it takes 30 ms for a million events, so it is seconds old then."""

FEEDING_KINDS_MAX: Final = 5_000
"""Kinds of events rules are asked about, the most frequent; a company with sixty systems has a thousand."""

FEEDING_LOOKED_AT: Final = 32
"""Records looked into of each kind of event (source, class, action, outcome, program) whose log source only they tell, such as
Windows' channel: the newest. A start of PowerShell is eight events of one kind and three log sources."""

RULES_LOOK_EVERY_S: Final = 2.0
"""How often the folders of rules are looked at for changes; 3,000 files take 10 ms."""

RULE_FILE_BYTES_MAX: Final = 1 * MIB
"""A rule file. The longest public rule has 40 KiB."""

RULES_MAX: Final = 20_000
"""Rules in all folders; the public collections have 4,000 together."""

RULE_BUDGET_SHARE: Final = 0.1
"""Of the time of detection one rule may take; past it over a minute it is paused, and an alert says so."""

BACKTEST_HITS_MAX: Final = 1_000
"""Events a back-test lists; it counts all."""

# --- response -------------------------------------------------------------------------------------------------------
BLOCK_PREVIEW_DAYS: Final = 30
"""How far back a preview looks: a month has every rhythm of work in it."""

BLOCK_TICKET_S: Final = 600
"""How long a preview may be acted on: who succeeds from an address changes by the hour."""

BLOCK_HOURS_MAX: Final = 24 * 90
"""The longest block. Addresses change hands; what must stay out for ever belongs into a firewall's own rules."""

BLOCK_RANGE_V4_BITS_MIN: Final = 16
"""The widest IPv4 range in one block, 65,536 addresses: a mistyped /8 is a continent."""

BLOCK_RANGE_V6_BITS_MIN: Final = 32
"""The widest IPv6 range in one block: what one provider gets."""

BLOCK_ALONE_V4_BITS_MIN: Final = 24
BLOCK_ALONE_V6_BITS_MIN: Final = 48
"""The widest range that one person blocks alone: what one customer gets. A wider one holds people we have not seen yet."""

BLOCK_VALUE_CHARS_MAX: Final = 320
"""An account or key id; the longest e-mail address."""

BLOCK_VALUES_SHOWN: Final = 10
"""Accounts, sources and actions a preview names."""

BLOCKS_ACTIVE_MAX: Final = 10_000
"""Blocks at a time. nginx reads so many deny lines in 20 ms; more are ranges."""

BLOCK_SHARED_ACCOUNTS: Final = 5
"""Accounts that succeeded from one address; from here on it is an office or a proxy, and who blocks it says how many."""

BLOCK_LAG_S: Final = 60
"""How late an event may be told that happened before a block, without counting against it."""

BLOCK_CLOCKS_S: Final = 300
"""How far behind a source's clock may be and its events still count against a block."""

BLOCK_SEEN_WITH_MAX: Final = 10_000
"""Addresses or names of one entity that are looked up among the blocks; a name behind more addresses is no person."""

BLOCK_ENDED_DAYS: Final = 90
"""How long an ended block or order stays in the database with its value; its records are in the ledger."""

BLOCK_NAMES_MAX: Final = 50_000
"""Names of accounts that a preview compares with the one to be blocked: half a second of CPU."""

BLOCK_NAMES_SHOWN: Final = 5
"""More look-alikes are numbers behind one name (`svc-001`, ...), which nobody reads one by one."""

BLOCK_FETCH_KEPT_S: Final = 60
"""How often it is written down that the same consumer came again: they come every ten seconds, and each is a write to the disk."""

TAXII_PAGE_MAX: Final = 1_000
"""Objects in one page: 600 KB of JSON."""

ALLOWED_V4_BITS_MIN: Final = 8
ALLOWED_V6_BITS_MIN: Final = 16
"""The widest network on the allow-list: one entry must not make the world unblockable."""

# --- notifications --------------------------------------------------------------------------------------------------
NOTICE_ID_CHARS_MAX: Final = 64
"""It stands in headers and mail ids; a UUID has 36."""

NOTICE_TITLE_CHARS_MAX: Final = 200
"""A subject line; Slack shows 150 of it."""

NOTICE_LINES_MAX: Final = 20
NOTICE_LINE_CHARS_MAX: Final = 500
NOTICE_FIELDS_MAX: Final = 10
"""A notification says what and where to look, not everything: Teams refuses above 28 KB, Slack shows ten fields."""

NOTICE_LINK_CHARS_MAX: Final = 2_000
"""Slack takes 3,000, mail programs break longer ones."""

OUTBOX_BATCH_MAX: Final = 20
"""Deliveries to one channel tried in one call, so that its one idea of now does not grow old and others get their turn."""

OUTBOX_PAUSE_S: Final = 60
"""How long a channel that just failed is left alone, whatever else waits for it."""

NOTICE_TEST_S: Final = 20
"""How long somebody who sends a test waits for the receiver's answer; receivers have 15 s, and the outbox looks every second."""

OUTBOX_PENDING_MAX: Final = 100_000
"""Undelivered notices kept; past it the outbox is full: about 200 MB, and nobody reads so many."""

OUTBOX_STORM_S: Final = 600
"""Notices of so long are counted; what is more than a channel takes waits so long for its summary."""

OUTBOX_STORM_AT_MOST: Final = 20
"""Notices that a channel for people is told of in that time one by one: more is not read, it is muted."""

OUTBOX_STORM_CRITICAL: Final = 5
"""So many times more are told one by one when they are critical."""

OUTBOX_FOLDED_S: Final = 3_600
"""How often people hear of what goes on about something they were told of: they know where to look."""

OUTBOX_TOLD_S: Final = 86_400
"""How long somebody who was told of something knows it: what begins about it a day later is news."""

OUTBOX_ERROR_CHARS_MAX: Final = 500
"""Of a receiver's words kept beside a failed delivery."""

OUTBOX_RETRY_AFTER_S_MAX: Final = 86_400
"""What a receiver may ask us to wait; more would be a way to silence us."""

WEBHOOK_AGE_S: Final = 300
"""How old a signed webhook may be that says when it was sent: Slack's and Standard Webhooks' five minutes."""

WEBHOOK_RESPONSE_BYTES_MAX: Final = 16 * KIB
"""Read of an answer: status line and headers of real servers stay below 8 KiB; the body says nothing we use."""

WEBHOOK_DEADLINE_S: Final = 15.0
"""From the first byte to the answer's headers, all steps together, so that one slow receiver holds up little."""

WEBHOOK_ADDRESSES_MAX: Final = 4
"""Addresses of one name that are tried within the deadline."""

TEAMS_MESSAGE_BYTES_MAX: Final = 25_000
"""Teams refuses messages above 28 KB, with what it adds itself."""

MAIL_TIMEOUT_S: Final = 20.0
"""Each step of an SMTP conversation; RFC 5321 allows minutes, which one delivering thread cannot."""

MAIL_RECIPIENTS_MAX: Final = 50
"""Beyond it a list address is meant. Servers take at least 100 (RFC 5321, section 4.5.3.1.8)."""

SYSLOG_OUT_TIMEOUT_S: Final = 10.0
"""Connecting, the handshake and sending, each."""

SYSLOG_OUT_END_S: Final = 2.0
"""How long we wait for a stream's receiver to close its side; some keep it open, and that is no refusal."""

SYSLOG_OUT_UDP_BYTES_MAX: Final = 2_048
"""RFC 5426, section 3.2: receivers should take 2,048 octets; a longer message is cut and says so."""

SILENCE_SECONDS_MAX: Final = 30 * 86_400
"""A silence ends by itself; what should be quiet for longer is a rule to change."""

# --- notes, proofs and evidence ---------------------------------------------------------------------------------
NOTE_BYTES_MAX: Final = 1 * MIB
"""A signed note. 64 ML-DSA-44 lines of 3.3 KB are 210 KB; the body of a checkpoint is some hundred bytes."""

NOTE_SIGNATURES_MAX: Final = 64
"""Signature lines in a note. C2SP signed-note asks for at least 16."""

PROOF_BYTES_MAX: Final = 2 * MIB
"""A tlog-proof file: one note, 63 hashes of 45 characters, and what an application put into `extra`."""

POLICY_BYTES_MAX: Final = 1 * MIB
"""A tlog-policy file. C2SP asks for 32 logs, witnesses and groups at least; an ML-DSA-44 vkey has 1.8 KB."""

EVIDENCE_MEMBER_BYTES_MAX: Final = 8 * MIB
"""One member of an evidence file: a record is at most 1 MiB, the summary of 50,000 records about 6 MiB."""

EVIDENCE_MEMBERS_MAX: Final = 200_000
"""Members of an evidence file: 50,000 records with proof and one part each."""

EVIDENCE_BYTES_MAX: Final = 1024 * MIB
"""All members unpacked, and the file itself; they are read one record at a time."""

EVIDENCE_RATIO_MAX: Final = 100
"""Unpacked to packed. Members are compressed one by one, so honest files stay below 20; bombs reach 1,000."""

EVIDENCE_RATIO_FREE_BYTES: Final = 1 * MIB
"""Below this unpacked size the ratio is not looked at."""

GEOIP_CACHE_ADDRESSES: Final = 65_536
"""Addresses whose place is remembered; 20 MB."""

GEOIP_LOOK_EVERY_S: Final = 10
"""How often it is looked whether the files of places were replaced."""

USER_AGENT_CHARS_MAX: Final = 1_000
"""Of a user-agent text so much is read; the rest is somebody's joke."""

USER_AGENTS_CACHED: Final = 16_384
"""User-agent texts whose meaning is remembered; 10 MB."""

BEHAVIOUR_ENTITIES_MAX: Final = 200_000
"""People, machines and addresses one behaviour rule knows; the one silent longest is forgotten, and counted."""

BEHAVIOUR_VALUES_MAX: Final = 400
"""Values remembered of each; enough for a year of days and for every hour of a week."""

PULL_OBJECT_BYTES_MAX: Final = 256 * MIB
"""An object that is pulled, packed and unpacked; CloudTrail's are below 50 MiB."""

PULL_BATCH_EVENTS: Final = 5_000
"""Events of an object that go to the ledger together."""

PULL_VISIBLE_AFTER_S: Final = 300
"""How long a queue keeps a message from others while its objects are read; asked for again with every batch."""

PULL_RETRY_MAX_S: Final = 300
"""The longest wait after a bucket or queue failed."""

PULL_EVERY_S_MAX: Final = 86_400
"""The longest wait between two listings of a bucket: files are to be here on the day they were written."""

PULL_LATE_DAYS_MAX: Final = 400
"""How long a day's folder may be looked at again; each day is a listing more per region and account."""

RISK_HALF_LIFE_S: Final = 7 * 86_400
"""After this long an alert counts half."""

RISK_ENTITIES_MAX: Final = 20
"""Of one new alert so many entities are looked at for their risk."""

CASE_ALERTS_MAX: Final = 200
"""Alerts in one case: an incident with more of them has more than one story."""

CASE_NOTES_MAX: Final = 1_000
"""Notes to one case; each is a record in the ledger, too."""

CASE_NOTE_CHARS_MAX: Final = 4_000
"""Of one note, as of a comment to an alert."""

CASE_MARKS_MAX: Final = 500
"""Events pinned to one case or left out of it: the draft is there to be mostly right."""

CASE_TWICE_S: Final = 10
"""The same note of the same person within this time is a double click."""

CASE_BEFORE_S: Final = 900
"""The timeline begins so long before the first evidence: what led to it is mostly minutes older."""

CASE_DAYS_MAX: Final = 30
"""The timeline ends so long after its beginning, if the case is open for longer; one look reads no more than a block's preview."""

CASE_LINES_MAX: Final = 200
"""Lines of a timeline that a person reads; beyond them the most telling are kept."""

CASE_GROUPS_MAX: Final = 5_000
"""Rows that the engine hands over for a timeline, the most telling first; they are folded into lines."""

CASE_FOLD_S: Final = 1_800
"""Events that are alike and follow each other within this time are one line."""

CASE_VALUES_MAX: Final = 500
"""Accounts and targets that are told apart in one line."""

CASE_EVIDENCE_MAX: Final = 5_000
"""Records in the evidence file of a case; about 2 KB each, and its verifier looks at no more files than these have."""

CASE_LINE_EVENTS_MAX: Final = 5_000
"""Events of one line that are known by their records: as many as an evidence file takes."""

CASE_ENTITIES_MAX: Final = 20
"""Addresses, ranges and accounts a timeline follows, each of them."""
