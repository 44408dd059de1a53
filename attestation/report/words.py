"""Words of the HTML report that belong to no single check, for readers who are not cryptographers."""

from __future__ import annotations

from dataclasses import dataclass

from attestation.check import Outcome
from attestation.model import Rules, Verdict


@dataclass(frozen=True, slots=True)
class Voice:
    """How one verdict speaks: its style, its word, and what it means for someone who has to act on it."""

    style: str
    word: str
    means: tuple[str, ...]
    reasons: str


VOICES: dict[Verdict, Voice] = {
    Verdict.ACCEPTED: Voice(
        "pass",
        "Accepted",
        (
            "Genuine hardware signed this evidence, and everything that was demanded of it holds.",
            "This holds for the evidence and the time given below. A later connection has to be checked "
            "anew; Casemate's clients do that on every connection, before they send anything.",
        ),
        "",
    ),
    Verdict.REFUSED: Voice(
        "fail",
        "Refused",
        ("Something is wrong with this evidence, or it is not what was demanded. Do not send data there.",),
        "What failed",
    ),
    Verdict.UNDECIDED: Voice(
        "undecided",
        "Not decided",
        (
            "Nothing was found to be wrong, but something that a decision needs is missing. "
            "Until it is there, treat this as refused and do not send data.",
        ),
        "What is missing",
    ),
    Verdict.ACCEPTED_INSECURE: Voice(
        "insecure",
        "A simulation. Nothing is protected",
        (
            "This evidence was made by a simulation for software development, which the policy allows. "
            "There is no genuine hardware behind it: whoever runs the machine can read everything.",
            "This report is not a proof of anything. Do not send data that matters, and do not file it as "
            "one. In other outputs this verdict is called accepted-insecure.",
        ),
        "Why",
    ),
}
_BASELINE = Voice(
    "pass",
    "Accepted by the baseline only",
    (
        "No policy was applied, only the baseline: genuine hardware, no debugging, nothing that could move "
        "or change the guest and, on Intel, firmware in good standing. On AMD no firmware level was looked "
        "at, and nowhere which software runs.",
        *VOICES[Verdict.ACCEPTED].means[1:],
    ),
    "",
)
_SIMULATED = (
    "This evidence was made by a simulation for software development. There is no genuine hardware behind "
    "it: whoever runs the machine can read everything."
)
_SIMULATIONS: dict[Verdict, Voice] = {
    Verdict.REFUSED: Voice(
        "insecure",
        "A simulation, and refused",
        (
            _SIMULATED,
            "Besides, something is wrong with it, or it is not what was demanded. Do not send data there.",
        ),
        "Why",
    ),
    Verdict.UNDECIDED: Voice(
        "insecure",
        "A simulation, and not decided",
        (
            _SIMULATED,
            "Besides, something that a decision needs is missing. "
            "Treat this as refused and do not send data.",
        ),
        "Why",
    ),
}


def choose_voice(verdict: Verdict, rules: Rules, *, insecure: bool) -> Voice:
    """How to speak. A simulation speaks as one whatever came of it, the baseline never as a policy."""
    if insecure:
        return _SIMULATIONS.get(verdict, VOICES[Verdict.ACCEPTED_INSECURE])
    return _BASELINE if verdict is Verdict.ACCEPTED and rules == "baseline" else VOICES[verdict]


MARKS: dict[Outcome, tuple[str, str]] = {
    Outcome.PASS: ("Passed", "Shows: "),
    Outcome.FAIL: ("Failed", "It would show: "),
    Outcome.UNDECIDED: ("Not decided", "It would show: "),
    Outcome.INSECURE: ("Insecure", "It would show: "),
    Outcome.NOTED: ("Noted", "Decides nothing here. If it passed, it would show: "),
}
# A check that holds inside a simulation shows nothing, and must not look like one that passed.
SIMULATED = ("hollow", "Simulated", "Would show, on genuine hardware: ")
NOT_DEMANDED = ("noted", "Not demanded", "Whatever is found there is accepted. Demanded, it would show: ")
ANSWERS: dict[Outcome, str] = {
    Outcome.PASS: "Yes",
    Outcome.FAIL: "No",
    Outcome.UNDECIDED: "Not decided",
    Outcome.INSECURE: "No, simulated",
    Outcome.NOTED: "Nothing decided",
}
WORDS: tuple[tuple[str, str], ...] = (
    (
        "Evidence",
        "What the hardware signed about itself and its software, with the certificates to check it.",
    ),
    ("Measurement", "A fingerprint of software: any change of the software gives another fingerprint."),
    ("Policy", "The list of what one reader accepts: which software, which machines, which settings."),
    (
        "Firmware level",
        "The versions of the processor's own software. Makers publish newer ones against known flaws.",
    ),
    ("Revocation list", "The maker's list of keys that it no longer vouches for."),
    (
        "Nonce",
        "A random number from the one who asks. An answer that contains it is no older than the question.",
    ),
    ("Manifest", "The gateway's list of its public keys, signed by the hardware along with everything else."),
    ("SHA-256", "A fingerprint of a file. Two files with one fingerprint are the same file."),
)
