"""No secret passes into what is recorded of the environment: not by its name, and not inside a value."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from clusterbench.bench.hosts.recorded_variables import (
    HIDDEN,
    LONGEST,
    VARIABLE_NAMES,
    VARIABLE_PREFIXES,
    allowed_variables,
    redact,
)

PRINTABLE = "".join(map(chr, range(33, 127)))
NAMES = st.one_of(st.sampled_from(VARIABLE_NAMES), st.sampled_from([f"{p}X" for p in VARIABLE_PREFIXES]))
SECRETS = st.text(PRINTABLE, min_size=8, max_size=60)
OPAQUE = st.text(string.ascii_letters + string.digits, min_size=24, max_size=60).filter(
    lambda text: any(c.isdigit() for c in text) and any(c.isalpha() for c in text) and not text.startswith("0x")
)
WORDS = st.sampled_from(["TOKEN", "API_KEY", "PASSWORD", "SECRET", "CREDENTIALS", "auth", "Passwd", "cookie", "JWT"])
AROUND = st.sampled_from(["", "btl ", "a=1;", "x,", "/opt/lib:"])


@given(st.sampled_from(VARIABLE_PREFIXES), st.text("ABCXYZ_", max_size=5), WORDS, SECRETS)
def test_a_variable_that_is_named_like_a_secret_has_no_value(prefix: str, between: str, word: str, secret: str) -> None:
    assert allowed_variables({f"{prefix}{between}{word}": secret}) == {f"{prefix}{between}{word}": HIDDEN}


@given(NAMES, AROUND, SECRETS, st.sampled_from(["postgresql://bench", "https://u.v-w", "proxy", "amqp+ssl://", "//me"]))
@example("NCCL_X", "", "p@ss/w:rd@", "postgresql://bench")
def test_no_password_of_a_url_passes(name: str, before: str, secret: str, user: str) -> None:
    assume("://" in user or not secret.startswith("//"))  # else it is a URL, and the secret its user
    check(name, f"{before}{user}:{{}}@host:5432/base", secret)


@given(NAMES, AROUND, OPAQUE)
def test_no_token_before_the_host_of_a_url_passes(name: str, before: str, secret: str) -> None:
    check(name, f"{before}https://{{}}@host/repository", secret)


@given(NAMES, AROUND, WORDS, SECRETS, st.sampled_from(["{}={}", "{}: {}", "--x-{} {}", "-{}={}", '{{"{}": {}}}']))
def test_no_value_of_a_key_that_is_named_like_a_secret_passes(
    name: str, before: str, word: str, secret: str, written: str
) -> None:
    check(name, before.replace("{", "{{") + written.format(word, "\0").replace("{", "{{").replace("}", "}}").replace(
        "\0", "{}"
    ), secret)  # fmt: skip


@given(NAMES, AROUND, OPAQUE)
def test_no_long_opaque_word_passes(name: str, before: str, secret: str) -> None:
    check(name, f"{before}{{}}", secret)


def check(name: str, template: str, secret: str) -> None:
    assume(secret not in template.replace("{}", " ").replace("{{", "{").replace("}}", "}"))
    recorded = allowed_variables({name: template.format(secret)})
    assert list(recorded) == [name]
    assert secret not in recorded[name]


@given(st.dictionaries(st.text(PRINTABLE, min_size=1, max_size=20), SECRETS, max_size=5))
def test_no_variable_off_the_list_is_recorded(environ: dict[str, str]) -> None:
    recorded = allowed_variables(environ)
    assert [name for name in recorded if not name.startswith(VARIABLE_PREFIXES) and name not in VARIABLE_NAMES] == []
    assert allowed_variables({f"X_{name}": value for name, value in environ.items()}) == {}


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmN",
        "ghp_abcDEF123456",
        "hf_abcdefghijk",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n",
        "Bearer abc.def",
    ],
)
def test_tokens_are_known_by_how_they_begin(secret: str) -> None:
    assert secret.split()[-1] not in allowed_variables({"UCX_X": f"a {secret}"})["UCX_X"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUDA_VISIBLE_DEVICES", "GPU-8f2a7f10-1d2c-4f3b-9a77-0123456789ab,1"),
        ("CUDA_VISIBLE_DEVICES", "MIG-8f2a7f10-1d2c-4f3b-9a77-0123456789ab"),
        ("NCCL_IB_HCA", "=mlx5_0:1,mlx5_1:1"),
        ("NCCL_TOPO_FILE", "/opt/x86_64-linux-gnu/topo.xml"),
        ("SLURM_JOB_NODELIST", "node[001-128],gpu-a-[1,3]"),
        ("SLURM_CPU_BIND", "quiet,mask_cpu:0xffffffffffffffffffffffffffffffff"),
        ("UCX_TLS", "rc,cuda_copy,gdr_copy,sm"),
        ("OMPI_MCA_btl_tcp_if_include", "10.0.0.0/8,eth0"),
        ("I_MPI_PIN_DOMAIN", "[55555555555,AAAAAAAAAA]"),
        ("OMP_PLACES", "{0:4},{4:4}"),
        ("NCCL_DEBUG", "INFO"),
    ],
)
def test_what_tunes_a_library_is_recorded_as_it_is(name: str, value: str) -> None:
    assert allowed_variables({name: value}) == {name: value}


@pytest.mark.parametrize(
    "name", ["SLURM_JOB_USER", "SLURM_JOB_ACCOUNT", "SLURM_SUBMIT_DIR", "SLURM_JWT", "PATH", "HOME"]
)
def test_whose_job_it_is_is_not_recorded(name: str) -> None:
    assert allowed_variables({name: "x"}) == {}


def test_of_a_long_value_its_length_is_recorded() -> None:
    assert allowed_variables({"UCX_X": "a" * (LONGEST + 1)}) == {"UCX_X": f"{LONGEST + 1} characters"}


def test_a_user_without_a_password_stays_in_a_url() -> None:
    assert redact("run --store postgresql://bench@db/results") == "run --store postgresql://bench@db/results"
