"""What a relying party accepts, as frozen values. `attestation.policy.toml` reads them from a file.

Nothing is skipped by omission: a field that is not set has a strict value here, never "don't care". There is
no field that accepts a debug guest. Values of one field are alternatives; fields all have to hold.
Specification, with the reason for every default: docs/spec/policy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from attestation.model import Tcb

FORMAT = "casemate/policy/1"
PRODUCTS = frozenset({"Milan", "Genoa", "Turin"})
TEES = frozenset({"sev-snp", "tdx", "azure-snp", "azure-tdx"})
TRUST_CLASSES = frozenset({"direct-boot", "paravisor-vtpm"})

SNP_REGISTERS = ("measurement",)
TDX_REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
PCR_REGISTERS = tuple(f"pcr{index}" for index in range(16))

# Revoked and unknown platforms are refused where evidence is authenticated; no policy can take them back.
TDX_STATUSES = frozenset(
    {
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
    }
)
TD_ATTRIBUTES = frozenset({"perfmon", "pks", "kl", "lass"})

# The lowest levels seen in public reports of patched fleets in 2026, not a reading of AMD's bulletins: those
# change, so a policy for production states its own. Milan has a floor but is in no default: its root seed has
# been extracted (arXiv 2605.12990), and no level helps against that.
SHIPPED_TCB_FLOORS: Mapping[str, Tcb] = MappingProxyType(
    {
        "Milan": Tcb(bootloader=4, tee=0, snp=24, microcode=219),
        "Genoa": Tcb(bootloader=10, tee=0, snp=23, microcode=84),
        "Turin": Tcb(fmc=1, bootloader=1, tee=1, snp=4, microcode=81),
    }
)

# What Intel's service handed out by default in the first quarter of 2026: everything accepted with an older
# number was judged by knowledge that is a year old. 20 has been seen since; this floor only rises.
SHIPPED_EVALUATION_NUMBER = 18
DEFAULT_COLLATERAL_AGE_SECONDS = 32 * 86_400
# Lists of what a root has revoked are made once in 12 to 13 months, by AMD and by Intel. Two years is the
# most that a policy may state.
DEFAULT_CRL_AGE_SECONDS, MAX_CRL_AGE_SECONDS = 400 * 86_400, 731 * 86_400

Pins: TypeAlias = Mapping[str, frozenset[bytes]]


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """What one shape of VM measures, by register name, raw bytes; all of it must match together.

    Registers: `measurement` (SEV-SNP), `mrtd` and `rtmr0` to `rtmr3` (TDX; 48 bytes each), `pcr0` to `pcr15`
    (Azure's virtual TPM; 32 bytes each). A register that is absent from a set has to be all zeros.
    """

    name: str
    values: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class SnpPolicy:
    """What runs, and on which AMD platform. Digests are raw bytes: 48 (measurement, key digests), 32.

    An empty `id_key_digests`, `author_key_digests` or `host_data` demands zeros: launch data that the policy
    does not name is not accepted. `trust_id_key` accepts any MEASUREMENT that a listed ID key signed, from
    `minimum_guest_svn` on; as one key may sign many products, `family_ids` and `image_ids` (16 bytes each,
    None: any) then say which. `required_mitigations` is a bit mask by product.
    """

    measurements: frozenset[bytes] = frozenset()
    sets: tuple[ReferenceSet, ...] = ()
    products: frozenset[str] = frozenset({"Genoa", "Turin"})
    vmpl: int = 0
    signing_keys: frozenset[str] = frozenset({"vcek"})
    minimum_tcb: Mapping[str, Tcb] = field(default_factory=lambda: SHIPPED_TCB_FLOORS)
    minimum_guest_svn: int = 0
    minimum_abi: tuple[int, int] = (0, 0)
    required_mitigations: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    id_key_digests: frozenset[bytes] = frozenset()
    author_key_digests: frozenset[bytes] = frozenset()
    host_data: frozenset[bytes] = frozenset()
    family_ids: frozenset[bytes] | None = None
    image_ids: frozenset[bytes] | None = None
    trust_id_key: bool = False
    allow_smt: bool = True
    allow_migration: bool = False
    allow_cxl: bool = False
    allow_tio: bool = False
    allow_provisional_firmware: bool = False
    require_alias_check: bool = True
    require_ecc: bool = True
    require_crl: bool = True
    require_single_socket: bool = False
    require_aes_256_xts: bool = False
    require_rapl_disabled: bool = False
    require_ciphertext_hiding: bool = False
    require_page_swap_disabled: bool = False
    require_tsme: bool = False


@dataclass(frozen=True, slots=True)
class TdxPolicy:
    """What runs, and on which Intel platform. Digests are raw bytes, 48 each.

    An empty `mrconfigids`, `mrowners`, `mrownerconfigs` or `mrservicetds` demands zeros. `mrseams` None
    accepts every module that Intel's collateral finds good, and `xfams` (8 bytes each, as in the TD report)
    None any features. `unjudged_registers` are RTMRs (never MRTD) whose value this policy does not look at.
    `allow_attributes` is a subset of TD_ATTRIBUTES.
    """

    sets: tuple[ReferenceSet, ...] = ()
    unjudged_registers: frozenset[str] = frozenset()
    mrseams: frozenset[bytes] | None = None
    xfams: frozenset[bytes] | None = None
    mrconfigids: frozenset[bytes] = frozenset()
    mrowners: frozenset[bytes] = frozenset()
    mrownerconfigs: frozenset[bytes] = frozenset()
    mrservicetds: frozenset[bytes] = frozenset()
    statuses: frozenset[str] = frozenset({"UpToDate"})
    advisories: frozenset[str] = frozenset()
    minimum_evaluation_number: int = SHIPPED_EVALUATION_NUMBER
    allow_attributes: frozenset[str] = frozenset()
    allow_migration: bool = False
    allow_smt: bool = True
    require_sept_ve_disable: bool = True


@dataclass(frozen=True, slots=True)
class MaaPolicy:
    """Microsoft's attestation service as a second opinion: issuer URL to pins of its signing keys.

    A token is only judged if an issuer is named; `required` refuses evidence that brings none.
    """

    issuers: Pins = field(default_factory=lambda: MappingProxyType({}))
    required: bool = False


@dataclass(frozen=True, slots=True)
class AzurePolicy:
    """The guest below Azure's paravisor, by PCRs; `snp` and `tdx` are for the paravisor itself."""

    sets: tuple[ReferenceSet, ...] = ()
    unjudged_registers: frozenset[str] = frozenset()
    require_secure_boot: bool = True
    require_console_disabled: bool = False
    snp: SnpPolicy = field(default_factory=SnpPolicy)
    tdx: TdxPolicy = field(default_factory=TdxPolicy)
    maa: MaaPolicy = field(default_factory=MaaPolicy)


@dataclass(frozen=True, slots=True)
class Operator:
    """Whose machines: by chip (AMD, 64 bytes), provider name in a VLEK, PPID or instance id (Intel, 16)."""

    name: str
    chip_ids: frozenset[bytes] = frozenset()
    csp_ids: frozenset[str] = frozenset()
    ppids: frozenset[bytes] = frozenset()
    platform_instance_ids: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class ManifestPolicy:
    """`services` None accepts any label (labels are not trust); root sources have to be named.

    `rollback` None accepts every protection that the manifest states, but not its absence, which is called
    `none` and has to be named. `minimum_ledger_epoch` is the reader's own memory of what it has seen.
    """

    services: frozenset[str] | None = None
    root_sources: frozenset[str] = frozenset({"hardware"})
    rollback: frozenset[str] | None = None
    minimum_ledger_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class ConfigPolicy:
    """What the gateway may have been told. `providers`: `host[:port]` to pins; None: the shipped table."""

    sha384: frozenset[bytes] | None = None
    providers: Pins | None = None
    insecure_development: bool = False


@dataclass(frozen=True, slots=True)
class EvidencePolicy:
    """Age. Without a nonce nothing proves it; `max_age_seconds` bounds how long a manifest may claim.

    `max_collateral_age_seconds` bounds how old Intel's oldest collateral may be, whatever its own dates say,
    but for the list of what the root has revoked: `max_crl_age_seconds` bounds that one, and AMD's.
    """

    accept_without_nonce: bool = False
    max_age_seconds: int = 90_000
    max_collateral_age_seconds: int = DEFAULT_COLLATERAL_AGE_SECONDS
    max_crl_age_seconds: int = DEFAULT_CRL_AGE_SECONDS


@dataclass(frozen=True, slots=True)
class UsedRelease:
    """A release file that a policy was read with: its name, its SHA-256, and what it says of itself."""

    file: str
    sha256: bytes
    number: int
    release: str
    issued: int


@dataclass(frozen=True, slots=True)
class ReferencePolicy:
    """Where further reference values came from: names of release files, and the numbers they carry.

    `minimum_release_number` is None only where no release is named. `used` are the files as they were read.
    """

    releases: tuple[str, ...] = ()
    release_keys: frozenset[bytes] = frozenset()
    minimum_release_number: int | None = None
    used: tuple[UsedRelease, ...] = ()

    @property
    def digests(self) -> Mapping[str, bytes]:
        """SHA-256 of each release file, by name: the policy's own digest does not cover them."""
        return {one.file: one.sha256 for one in self.used}


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy.

    `version` is the owner's own counter, for who keeps policies from being rolled back; nothing here reads
    it. `insecure_development_root`: SHA-256 of one simulated root's SPKI, or None. `sha256` is that of the
    file's bytes, empty for a policy that was not read from one; it says where a policy came from, not what it
    means, so it does not take part in comparisons.
    """

    version: int | None = None
    tees: frozenset[str] = frozenset({"sev-snp", "tdx"})
    trust_classes: frozenset[str] = frozenset({"direct-boot"})
    snp: SnpPolicy = field(default_factory=SnpPolicy)
    tdx: TdxPolicy = field(default_factory=TdxPolicy)
    azure: AzurePolicy = field(default_factory=AzurePolicy)
    operators: tuple[Operator, ...] = ()
    manifest: ManifestPolicy = field(default_factory=ManifestPolicy)
    config: ConfigPolicy = field(default_factory=ConfigPolicy)
    evidence: EvidencePolicy = field(default_factory=EvidencePolicy)
    reference: ReferencePolicy = field(default_factory=ReferencePolicy)
    insecure_development_root: bytes | None = None
    sha256: bytes = field(default=b"", compare=False)


BUILT_IN = Policy()
