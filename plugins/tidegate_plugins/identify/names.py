"""What principals, teams and networks may be called."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/-]{0,127}")
"""What operators write themselves: ids of keys, teams."""

CLAIMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/|=-]{0,199}")
"""What an identity provider or a mesh may call somebody."""

PSEUDONYM = re.compile(r"cred-[0-9a-f]{12}")
LETTERS = "letters, digits and . _ : @ + / -"

Network = IPv4Network | IPv6Network


def networks_of(written: Iterable[str]) -> tuple[Network, ...]:
    """Return networks such as `10.0.0.0/8`.

    Raises:
        ValueError: one of them is none.
    """
    return tuple(ip_network(network) for network in written)


def network_problems(written: Iterable[str]) -> list[str]:
    """Return what is wrong with networks, each on its own."""
    problems = []
    for network in written:
        try:
            ip_network(network)
        except ValueError as error:
            problems.append(f"networks: {error}")
    return problems


def within(peer: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of the networks; what is no address is in none."""
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # an IPv4 caller on a dual-stack socket
    return any(address in network for network in networks)
