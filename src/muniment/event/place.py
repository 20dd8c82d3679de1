"""Where on earth an address is said to be: what GeoIP data knows of one IP address."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of one address; an empty text or None says that the data does not tell.

    ``country`` is an ISO 3166-1 alpha-2 code in capitals. ``latitude`` and ``longitude`` are degrees (WGS 84) of a city
    or a network's middle, ``radius_km`` how far off they may be. ``asn`` is the number of the autonomous system.
    ``hosting`` says that the network is a data centre's, a VPN's or a proxy's, where the data tells that.
    """

    country: str
    city: str = ""
    latitude: float | None = None
    longitude: float | None = None
    radius_km: float | None = None
    asn: int | None = None
    organization: str = ""
    hosting: bool = False
