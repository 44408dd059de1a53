"""What a quote and its collateral say, by the names of docs/spec/facts.md. Display only: decides nothing."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from attestation.model import Fact
from attestation.tdx.abi import Quote, SgxReport, TdAttributes, TdReport
from attestation.tdx.chain import Case, Lacking, attempt, present
from attestation.tdx.pck import PckExtensions
from attestation.tdx.qe_identity import QeIdentity, identity_problem
from attestation.tdx.tcb import Rating, rate_svn
from attestation.tdx.tcb_info import TcbInfo

_HEX_FIELDS = (
    *("tee_tcb_svn", "mrseam", "mrsignerseam", "seam_attributes", "xfam", "mrtd", "mrconfigid", "mrowner"),
    *("mrownerconfig", "report_data", "tee_tcb_svn2", "mrservicetd", "td_id", "device_info"),
    *("init_servicetd_hash", "init_servicetd_attributes", "init_cpusvn", "init_tee_tcb_svn", "init_fmspc"),
    *("current_servicetd_hash", "current_servicetd_attributes"),
)


def status_of(rating: Rating | None) -> str | None:
    """The status, if there is a rating."""
    return rating.status if rating else None


def describe(case: Case) -> dict[str, Fact]:
    """All facts that could be established. Fields that a body lacks, and what nothing tells, are absent."""
    body = case.quote.body
    facts = sgx_facts(case.quote, body) if isinstance(body, SgxReport) else quote_facts(case.quote, body)
    if not isinstance(case.chain, Lacking):
        facts["pck_not_before"] = case.pck.not_valid_before_utc.isoformat()
        facts["pck_not_after"] = case.pck.not_valid_after_utc.isoformat()
    if not isinstance(case.extension, Lacking):
        facts["pck"] = pck_facts(case.extension)
    return facts | _collateral_facts(case) | _tcb_facts(case)


def sgx_facts(quote: Quote, body: SgxReport) -> dict[str, Fact]:
    """What an SGX quote is about: an enclave, which is no TD."""
    return {
        "version": quote.version,
        "tee_type": hex(quote.tee_type),
        "mrenclave": body.mrenclave.hex(),
        "mrsigner": body.mrsigner.hex(),
        "report_data": body.report_data.hex(),
    }


def quote_facts(quote: Quote, body: TdReport) -> dict[str, Fact]:
    """Header, body and outline of the signature data."""
    facts: dict[str, Fact] = {
        "version": quote.version,
        "att_key_type": quote.att_key_type,
        "tee_type": hex(quote.tee_type),
        "qe_vendor": quote.qe_vendor.hex(),
        "user_data": quote.user_data.hex(),
        "body_off": quote.body_offset,
        "body_size": len(body.raw),
        "td_attributes": body.td_attributes.raw.hex(),
        "rtmrs": [rtmr.hex() for rtmr in body.rtmrs],
        "attr_flags": _attribute_facts(body.td_attributes),
        "sig_len": quote.signature.size,
        "trailing": len(quote.trailing),
        "cert_type": quote.signature.cert_type,
        "inner_cert_type": quote.signature.inner_cert_type,
    }
    if quote.body_type is not None:
        facts["body_type"] = quote.body_type
    for name in _HEX_FIELDS:
        value = getattr(body, name)
        if value is not None:
            facts[name] = value.hex()
    if body.vmid is not None:
        facts["vmid"] = body.vmid
    return facts


def _attribute_facts(attributes: TdAttributes) -> dict[str, Fact]:
    flags: dict[str, Fact] = {
        name: getattr(attributes, name)
        for name in ("debug", "sept_ve_disable", "migratable", "pks", "kl", "perfmon", "lass")
    }
    return flags | {"other_tud": hex(attributes.other_tud)}


def pck_facts(extension: PckExtensions) -> dict[str, Fact]:
    """The platform as Intel certified it."""
    instance = extension.platform_instance_id
    return {
        "ppid": extension.ppid.hex(),
        "svns": list(extension.components),
        "pcesvn": extension.pcesvn,
        "cpusvn": extension.cpusvn.hex(),
        "pceid": extension.pceid.hex(),
        "fmspc": extension.fmspc.hex(),
        "sgxtype": extension.sgx_type,
        "piid": None if instance is None else instance.hex(),
        "dynamic_platform": extension.dynamic_platform,
        "cached_keys": extension.cached_keys,
        "smt_enabled": extension.smt_enabled,
    }


def _collateral_facts(case: Case) -> dict[str, Fact]:
    """The period in which all four pieces of collateral hold, if all were supplied and can be read.

    `collateral_valid`: Intel signed TCB info and QE identity, and now lies in that period.
    """
    periods = attempt(
        lambda: [
            _json_period(present(case.tcb_info)),
            _json_period(present(case.qe_identity)),
            _crl_period(present(case.root_crl)),
            _crl_period(present(case.pck_crl)),
        ]
    )
    if isinstance(periods, Lacking):
        return {}
    valid_from, valid_until = max(start for start, _ in periods), min(end for _, end in periods)
    in_time = valid_from <= case.now <= valid_until
    signed = case.tcb_info_forged is None and case.qe_identity_forged is None
    facts: dict[str, Fact] = {
        "valid_from": _moment(valid_from),
        "valid_until": _moment(valid_until),
        "collateral_valid": in_time and signed,
    }
    if not in_time:
        facts["error"] = "collateral expired" if case.now > valid_until else "collateral not yet valid"
    return facts


def _json_period(statement: TcbInfo | QeIdentity) -> tuple[datetime, datetime]:
    return statement.issue_date, statement.next_update


def _crl_period(crl: x509.CertificateRevocationList) -> tuple[datetime, datetime]:
    """A CRL that names no end holds at its issue only."""
    return crl.last_update_utc, crl.next_update_utc or crl.last_update_utc


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _tcb_facts(case: Case) -> dict[str, Fact]:
    """How Intel rates this TD's platform, as far as authentic and current collateral tells."""
    report, facts = case.quote.signature.qe_report, dict[str, Fact]()
    facts["qe_isvsvn"] = report.isvsvn
    identity = attempt(lambda: case.usable_qe_identity)
    if not isinstance(identity, Lacking):
        facts["qe_identity_match"] = identity_problem(report, identity) is None
        facts["qe_eval_number"] = identity.evaluation_number
        facts["qe_status"] = status_of(rate_svn(identity.levels, report.isvsvn))
    evaluation = attempt(lambda: case.evaluation)
    if isinstance(evaluation, Lacking):
        return facts
    rated = evaluation.ratings is not None
    return facts | {
        "tcb_status": evaluation.status,
        "platform_tcb_status": status_of(evaluation.platform),
        "platform_tcb_date": evaluation.platform.date if evaluation.platform else None,
        "advisory_ids": list(evaluation.advisory_ids) if rated else None,
        "tdx_module": [evaluation.module_id, status_of(evaluation.module)] if evaluation.module_id else None,
        "tcb_eval_number": case.usable_tcb_info.evaluation_number,
    }
