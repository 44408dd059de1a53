"""A policy that says something about every field, and the shortest one."""

from __future__ import annotations

from attestation.pins import write_pin
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy

HEAD = 'format = "casemate/policy/1"\n'
PIN = write_pin(b"\x05" * 32)

FULL = f"""{HEAD}version = 3
tees = ["tdx", "azure-snp"]
trust_classes = ["direct-boot", "paravisor-vtpm"]
insecure_development_root = "{PIN}"
[snp]
measurements = ["{"ab" * 48}"]
products = ["Milan", "Turin"]
vmpl = 2
signing_keys = ["vlek"]
minimum_guest_svn = 65547
minimum_abi = "1.31"
required_mitigations = {{ Turin = 63 }}
id_key_digests = ["{"01" * 48}"]
author_key_digests = ["{"02" * 48}"]
host_data = ["{"03" * 32}"]
family_ids = ["{"0f" * 16}"]
image_ids = ["{"1f" * 16}"]
trust_id_key = true
allow_smt = false
allow_migration = true
allow_cxl = true
allow_tio = true
allow_provisional_firmware = true
require_alias_check = false
require_ecc = false
require_crl = false
require_single_socket = true
require_aes_256_xts = true
require_rapl_disabled = true
require_ciphertext_hiding = true
require_page_swap_disabled = true
require_tsme = true
[snp.minimum_tcb.Turin]
fmc = 1
bootloader = 2
tee = 3
snp = 4
microcode = 5
[snp.sets."8 vCPU"]
measurement = "{"0a" * 48}"
[tdx]
unjudged_registers = ["rtmr3"]
mrseams = ["{"11" * 48}"]
xfams = ["{"e7" * 8}"]
mrconfigids = ["{"12" * 48}"]
mrowners = ["{"13" * 48}"]
mrownerconfigs = ["{"14" * 48}"]
mrservicetds = ["{"15" * 48}"]
statuses = ["UpToDate", "SWHardeningNeeded"]
advisories = ["INTEL-SA-00960"]
minimum_evaluation_number = 20
allow_attributes = ["pks"]
allow_migration = true
allow_smt = false
require_sept_ve_disable = false
[tdx.sets.c3]
mrtd = "{"0b" * 48}"
rtmr2 = "{"0c" * 48}"
[azure]
unjudged_registers = ["pcr5"]
require_secure_boot = false
require_console_disabled = true
[azure.sets.DC8]
pcr0 = "{"0d" * 32}"
pcr15 = "{"0e" * 32}"
[azure.snp]
measurements = ["{"16" * 48}"]
[azure.tdx.sets.paravisor]
mrtd = "{"17" * 48}"
[azure.maa]
issuers = {{ "https://sharedeus2.eus2.attest.azure.net" = ["{PIN}"] }}
required = true
[operators."Rack 7"]
chip_ids = ["{"04" * 64}"]
csp_ids = ["CN=cc-us-east-2.amazonaws.com"]
ppids = ["{"05" * 16}"]
platform_instance_ids = ["{"06" * 16}"]
[operators.other]
ppids = ["{"07" * 16}"]
[manifest]
services = ["a"]
root_sources = ["operator"]
rollback = ["witness"]
minimum_ledger_epoch = 9
[config]
sha384 = ["{"06" * 48}"]
providers = {{ "127.0.0.1:9" = ["{PIN}"] }}
insecure_development = true
[evidence]
accept_without_nonce = true
max_age_seconds = 60
max_collateral_age_seconds = 61
max_crl_age_seconds = 62
[reference]
releases = []
release_keys = ["{"08" * 32}"]
minimum_release_number = 4
"""


def parse(text: str) -> Policy:
    """Parse a policy from text."""
    return parse_policy(text.encode())
