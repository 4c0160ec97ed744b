"""Values for the slots: names, addresses, numbers.

Training and evaluation never share a value: the word pools are disjoint, the syllables are disjoint, and on top of that
a checksum of every finished name, address, path, port or size decides to which side it belongs. Only percentages,
temperatures, counts and status codes, of which there are too few, are shared.
"""

from __future__ import annotations

import ipaddress
import random
import string
import zlib

from .grammar import Slot
from .words import HELD_SYLLABLES, HELD_WORDS, TRAIN_SYLLABLES, TRAIN_WORDS

STRING_KEYS = "service host ip user unit device interface container package version path mac process url".split()
NUMBER_KEYS = "port pid percent temperature count size status".split()
KEYS = (*STRING_KEYS, *NUMBER_KEYS)

SHARED_KINDS = {"percent", "temperature", "count", "status", "n", "dur", "volts"}
HELD_ONE_IN = 5
TOP_DOMAINS = ("lan", "local", "example", "home", "net", "org", "internal", "dev", "io", "site")
DIRECTORIES = ("var", "etc", "srv", "opt", "home", "usr", "mnt", "tmp", "run", "data", "lib", "log", "media", "boot")
SUFFIXES = ("conf", "log", "db", "yaml", "json", "sock", "pem", "key", "txt", "sh", "tar", "img", "gz", "toml", "lock")
UNIT_KINDS = ("service", "service", "service", "timer", "mount", "socket", "target", "scope", "path")
VERSION_MARKS = ("~rc", "+deb", "-beta", "+rpt", "-r", "ubuntu", "~bpo")
WEIGHT_QUANTS = ("q4_0", "q8_0", "q4_k", "f16", "q5_1")


def is_held(value: str) -> bool:
    """Whether a value belongs to the evaluation sets (one in five, by checksum)."""
    return zlib.crc32(value.encode()) % HELD_ONE_IN == 0


class Values:
    """A source of slot values for one side of the split.

    `pieces` are letter runs of the tokenizer's vocabulary: names made of them show every token as part of a value,
    without which copying does not carry over to tokens that no answer has contained.
    """

    def __init__(self, rng: random.Random, held: bool = False, pieces: tuple[str, ...] = ()):
        self.rng = rng
        self.held = held
        self.pieces = pieces
        self.words = HELD_WORDS if held else TRAIN_WORDS
        self.syllables = HELD_SYLLABLES if held else TRAIN_SYLLABLES

    def of(self, slot: Slot) -> str:
        """The text of a fresh value for a slot, from this side of the split."""
        if slot.low is not None:
            return self._within(slot.low, slot.high)
        return self.named(slot.kind)

    def named(self, kind: str) -> str:
        make = getattr(self, "_" + kind)
        if kind in SHARED_KINDS:
            return make()
        while is_held(value := make()) != self.held:
            pass
        return value

    def _within(self, low: str, high: str) -> str:
        if "." in low:
            decimals = len(low.partition(".")[2])
            return f"{self.rng.uniform(float(low), float(high)):.{decimals}f}"
        return str(self._spread(int(low), int(high)))

    def _spread(self, low: int, high: int) -> int:
        """Uniform over a narrow range; over a wide one, small numbers of few digits as often as large ones."""
        if low < 1 or high < 40 * low or self.rng.random() < 0.5:
            return self.rng.randint(low, high)
        digits = self.rng.randint(len(str(low)), len(str(high)))
        return min(max(low, self.rng.randint(10 ** (digits - 1), 10**digits - 1)), high)

    # names

    def _word(self) -> str:
        roll = self.rng.random()
        if self.held or roll < 0.3:
            return self.rng.choice(self.words) if self.rng.random() < 0.5 else self._syllables()
        if roll < 0.5:
            return self._syllables()
        if roll < 0.7 or not self.pieces:
            return "".join(self.rng.choices(string.ascii_lowercase, k=self.rng.randint(2, 8)))
        return "".join(self.rng.choices(self.pieces, k=self.rng.randint(1, 3)))[:14]

    def _syllables(self) -> str:
        return "".join(self.rng.choices(self.syllables, k=self.rng.randint(2, 3)))

    def _number(self) -> str:
        """A number in a name: often short, often with a repeated or a leading digit."""
        roll = self.rng.random()
        if roll < 0.15:
            return str(self.rng.randint(1, 9)) * self.rng.randint(2, 4)
        if roll < 0.3:
            return f"{self.rng.randint(0, 99):0{self.rng.randint(2, 3)}d}"
        return str(self._spread(1, 9999 if roll > 0.9 else 99))

    def _joined(self, separators: str, most: int = 3) -> str:
        separator = self.rng.choice(separators)
        return separator.join(self._word() for _ in range(self.rng.choice((1, 1, 2, 2, most))))

    def _hex(self, length: int) -> str:
        return "".join(self.rng.choices("0123456789abcdef", k=length))

    def _host(self) -> str:
        form = self.rng.randrange(7)
        if form == 0:
            return self._word()
        if form == 1:
            return f"{self._word()}{self._number()}"
        if form <= 3:
            return f"{self._word()}-{self._number()}"
        if form == 4:
            return f"{self._word()}-{self._word()}"
        if form == 5:
            return f"{self._word()}-{self._word()}-{self._number()}"
        return f"{self._word()}{self.rng.choice(('', '-' + self._number()))}.{self._domain()}"

    def _domain(self) -> str:
        middle = self._word() + "." if self.rng.random() < 0.5 else ""
        return middle + self.rng.choice(TOP_DOMAINS)

    def _peer(self) -> str:
        return f"{self._joined('-', 2)}.{self._domain()}"

    def _user(self) -> str:
        form = self.rng.randrange(8)
        if form <= 3:
            return self._word()
        if form == 4:
            return self._word() + self._number()
        if form == 5:
            return f"{self._word()}.{self._word()}"
        if form == 6:
            return f"{self._word()}{self.rng.choice('-_')}{self._word()}"
        return f"{self.rng.choice(('svc', 'admin', 'op', 'www', 'dev'))}{self.rng.choice('-_')}{self._word()}"

    def _service(self) -> str:
        return self._joined("-", 2) + self.rng.choice(("", "", "d", "-agent", "ctl"))

    def _unit(self) -> str:
        instance = f"@{self.rng.choice((self._number(), self._word()))}" if self.rng.random() < 0.2 else ""
        return f"{self._joined('-_')}{instance}.{self.rng.choice(UNIT_KINDS)}"

    def _process(self) -> str:
        form = self.rng.randrange(5)
        if form <= 1:
            return self._word()
        if form == 2:
            return self._joined("-_", 2)
        if form == 3:
            return f"{self._word()}{self._number()}"
        return f"{self._word()}/{self.rng.randint(0, 15)}:{self.rng.randint(0, 9)}"

    def _container(self) -> str:
        form = self.rng.randrange(6)
        if form <= 1:
            return f"{self._word()}_{self._word()}"
        if form == 2:
            return self._hex(12)
        if form == 3:
            return f"{self._joined('-', 2)}-{self._number()}"
        if form == 4:
            return f"{self._word()}-{self._hex(self.rng.randint(8, 10))}-{self._hex(5)}"
        return self._joined("-_", 3)

    def _package(self) -> str:
        form = self.rng.randrange(6)
        if form <= 1:
            return self._joined("-")
        if form == 2:
            return f"lib{self._word()}{self._number()}"
        if form == 3:
            return f"python3-{self._word()}"
        if form == 4:
            return f"{self._word()}-{self.rng.choice(('dev', 'common', 'utils', 'data', 'server', 'doc'))}"
        return f"{self._word()}{self.rng.randint(1, 20)}"

    def _version(self) -> str:
        numbers = ".".join(str(self._spread(1, 120) - self.rng.randint(0, 1)) for _ in range(self.rng.randint(2, 4)))
        form = self.rng.randrange(9)
        if form <= 3:
            return numbers
        if form == 4:
            return f"v{numbers}"
        if form == 5:
            return f"{numbers}-{self.rng.randint(1, 12)}"
        if form == 6:
            return f"{self.rng.randint(1, 4)}:{numbers}-{self.rng.randint(0, 9)}"
        if form == 7:
            return f"{numbers}{self.rng.choice(VERSION_MARKS)}{self.rng.randint(1, 14)}"
        return f"20{self.rng.randint(20, 29)}{self.rng.randint(1, 12):02d}{self.rng.randint(1, 28):02d}"

    def _path(self) -> str:
        names = [self.rng.choice(DIRECTORIES)] if self.rng.random() < 0.8 else [self._word()]
        names += [self._name_part() for _ in range(self.rng.randint(1, 3))]
        ending = "." + self.rng.choice(SUFFIXES) if self.rng.random() < 0.6 else ""
        return "/" + "/".join(names) + ending

    def _name_part(self) -> str:
        return self.rng.choice((self._word, self._word, self._number_part, lambda: self._joined("-_", 2)))()

    def _number_part(self) -> str:
        return f"{self._word()}{self.rng.choice(('', '-', '_', '.'))}{self._number()}"

    def _url(self) -> str:
        tail = "/".join(self._name_part() for _ in range(self.rng.randint(0, 2)))
        port = f":{self.rng.randint(80, 9999)}" if self.rng.random() < 0.2 else ""
        return f"{self.rng.choice(('http', 'https', 'https'))}://{self._peer()}{port}/{tail}".rstrip("/")

    def _model(self) -> str:
        return f"{self._joined('-', 2)}-{self.rng.choice(WEIGHT_QUANTS)}"

    def _id(self) -> str:
        return self._hex(self.rng.randint(5, 12))

    # addresses

    def _ip(self) -> str:
        if self.rng.random() < 0.2:
            return self._ip6()
        octets = [self.rng.randint(1, 223)] + [self._octet() for _ in range(3)]
        private = self.rng.choice((None, (10,), (192, 168), (172, self.rng.randint(16, 31))))
        if private:
            octets[: len(private)] = private
        return ".".join(map(str, octets))

    def _octet(self) -> int:
        roll = self.rng.random()
        if roll < 0.25:
            return self.rng.randint(0, 9)
        return self.rng.choice((11, 22, 33, 111, 222, 100, 200, 101)) if roll < 0.35 else self.rng.randint(10, 254)

    def _ip6(self) -> str:
        lead = self.rng.choice((0xFE80 << 112, 0xFD << 120 | self.rng.getrandbits(56) << 64, 0x20010DB8 << 96))
        groups = self.rng.choice((0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF))
        return str(ipaddress.IPv6Address(lead | self.rng.getrandbits(64) & groups))

    def _mac(self) -> str:
        pairs = [self._hex(2) for _ in range(6)]
        if self.rng.random() < 0.2:
            pairs[self.rng.randrange(5)] = pairs[5]
        form = self.rng.random()
        mac = (":" if form < 0.85 else "-").join(pairs)
        return mac.upper() if form > 0.7 else mac

    # hardware

    def _device(self) -> str:
        disk, ports = self.rng.choice(string.ascii_lowercase[:20]), self.rng.randint(0, 9)
        number = self.rng.randint(0, 31)
        name = self.rng.choice(
            (
                f"sd{disk}",
                f"sd{disk}{self.rng.randint(1, 15)}",
                f"nvme{ports}n{self.rng.randint(1, 4)}",
                f"nvme{ports}n1p{self.rng.randint(1, 12)}",
                f"mmcblk{ports}",
                f"mmcblk{ports}p{self.rng.randint(1, 9)}",
                f"md{self.rng.choice((number, 127))}",
                f"dm-{number}",
                f"loop{number}",
                f"tty{self.rng.choice(('USB', 'ACM', 'S', 'AMA'))}{number}",
                f"zram{ports}",
                f"vd{disk}{self.rng.choice(('', str(ports)))}",
                f"i2c-{number}",
                f"hidraw{number}",
                f"{self._word()}{ports}",
            )
        )
        return f"/dev/{name}" if self.rng.random() < 0.4 else name

    def _interface(self) -> str:
        number = self.rng.randint(0, 19)
        return self.rng.choice(
            (
                f"eth{number}",
                f"wlan{number}",
                f"enp{self.rng.randint(0, 12)}s{self.rng.randint(0, 31)}",
                f"wlp{self.rng.randint(0, 12)}s{self.rng.randint(0, 9)}",
                f"end{number}",
                f"usb{number}",
                f"wg{number}",
                f"tun{number}",
                f"br{number}",
                f"br-{self._hex(12)}",
                f"veth{self._hex(7)}",
                f"bond{number}",
                f"wwan{number}",
                f"eth{self.rng.randint(0, 3)}.{self.rng.randint(2, 4000)}",
                f"{self._word()[:8]}{number}",
            )
        )

    # numbers

    def _port(self) -> str:
        common = (22, 25, 53, 80, 123, 443, 993, 1883, 3306, 5432, 6379, 8080, 8443, 8883, 9090, 51820)
        return str(self.rng.choice(common) if self.rng.random() < 0.15 else self.rng.randint(20, 65535))

    def _pid(self) -> str:
        return str(self._spread(2, 99999))

    def _count(self) -> str:
        return str(self._spread(2, 2000))

    def _size(self) -> str:
        if self.rng.random() < 0.25:
            return f"{self.rng.uniform(0.5, 999):.1f}"
        return str(self._spread(1, 9999999))

    def _percent(self) -> str:
        return str(self.rng.randint(1, 100))

    def _temperature(self) -> str:
        return str(self.rng.randint(15, 99))

    def _status(self) -> str:
        return str(self.rng.randint(1, 255))

    def _n(self) -> str:
        return str(self._spread(1, 9999))

    def _dur(self) -> str:
        if self.rng.random() < 0.5:
            return f"{self.rng.randint(1, 59)}.{self.rng.randint(0, 999)}s"
        return f"{self._spread(1, 9000)}{self.rng.choice(('ms', 's', ' ms', ' s', ' min'))}"

    def _volts(self) -> str:
        return f"{self.rng.randint(3, 24)}.{self.rng.randint(0, 99):02d}{self.rng.choice((' V', 'V'))}"
