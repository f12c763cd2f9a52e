#!/usr/bin/env bash
# Tests a wheel as a user meets it, in a virtual environment of its own: deploy/wheel/test.sh WHEEL
#
# What it holds the wheel against: auditwheel, which reads the libraries' symbols by itself, and what is claimed in
# docs/install.md. Then what the README shows first. Needs Python 3.10, and cargo, which knows what is linked.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 WHEEL" >&2; exit 2; }
wheel=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Neither this checkout nor a tap that is there already may stand in for what is installed.
unset NCCLTAP_LIBRARY PYTHONPATH LD_PRELOAD
cd "$work"

passed=0
failed=0
check() { # check SENTENCE COMMAND...: the command is to succeed
    local sentence=$1
    shift
    if ("$@") > "$work/said" 2>&1; then
        echo "ok: $sentence"
        passed=$((passed + 1))
    else
        echo "FAILED: $sentence"
        sed 's/^/    /' "$work/said"
        failed=$((failed + 1))
    fi
}

python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check auditwheel
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check "$wheel"
bin=$work/venv/bin

platform=$(basename "$wheel" .whl)
platform=${platform##*-}
glibc=$(sed -E 's/^manylinux_([0-9]+)_([0-9]+)_.*/\1.\2/' <<< "$platform")

tag_is_what_auditwheel_finds() {
    local shown
    shown=$(tools/bin/auditwheel show "$1" | tr '\n' ' ')
    grep -F "consistent with the following platform tag: \"$(sed -E 's/.*-(.*)\.whl/\1/' <<< "$1")\"" <<< "$shown" || { echo "$shown"; return 1; }
}
a_false_tag_is_found_out() {
    local false_tag=${wheel##*/}
    false_tag=$work/${false_tag/manylinux_${glibc/./_}/manylinux_2_17}
    cp "$wheel" "$false_tag" && ! tag_is_what_auditwheel_finds "$false_tag"
}
tag_is_stated() { grep -F "glibc $glibc " "$root/docs/install.md"; }
version_is_the_wheels() { [ "$("$bin/nccltap" --version)" = "nccltap $(basename "$wheel" | cut -d- -f2)" ]; }
library_is_the_installed_one() { [ "$("$bin/nccltap" library)" = "$work/venv/lib/nccltap/libnccltap.so" ]; }
the_demo_is_equal() { "$bin/nccltap" demo --output 8 --pace 0 | grep -F ": equal in all "; }
the_tap_is_in_a_command() { "$bin/nccltap" run --quiet -- "$bin/python" -c 'assert "libnccltap.so" in open("/proc/self/maps").read()'; }
the_plugin_is_found() {
    "$bin/python" - <<'PYTHON'
from importlib.metadata import entry_points

for group in ("vllm.general_plugins", "sglang.srt.plugins"):
    (found,) = entry_points(group=group)
    assert found.name == "nccltap" and callable(found.load()), found
PYTHON
}
the_plugin_is_found_once_under_run() {
    "$bin/nccltap" run --quiet -- "$bin/python" -c \
        'from importlib.metadata import entry_points as e; assert len(list(e(group="vllm.general_plugins"))) == 1'
}
manual_and_completions() {
    local file
    for file in man/man1/nccltap-run.1 bash-completion/completions/nccltap zsh/site-functions/_nccltap \
        fish/vendor_completions.d/nccltap.fish; do
        grep -e --record -e '\\-\\-record' -e '-l record' "$work/venv/share/$file" || { echo "not in $file"; return 1; }
    done
}
licenses_are_there() {
    cmp "$root/LICENSE" "$work/venv/share/doc/nccltap/LICENSE"
    # Of all that is linked, by cargo's own account.
    cargo tree --manifest-path "$root/Cargo.toml" --locked --target x86_64-unknown-linux-gnu -p nccltap -p nccltap-agent \
        -p nccltap-uplink -e normal,no-proc-macro --prefix none --format '{p}' | sed -nE 's/^(\S+) v(\S+)( \(\*\))?$/\1 \2: /p' |
        sort -u > "$work/linked"
    [ "$(wc -l < "$work/linked")" -gt 50 ] || return 1
    grep -oE '^[a-zA-Z0-9_-]+ [0-9.]\S*: ' "$work/venv/share/doc/nccltap/THIRD-PARTY.txt" > "$work/told"
    local untold
    untold=$(grep -vFf "$work/told" "$work/linked") || true
    [ -z "$untold" ] || { echo "not told: $untold"; return 1; }
}
a_moved_environment_works() {
    mv "$work/venv" "$work/moved"
    "$work/moved/bin/nccltap" doctor
    local code=$?
    mv "$work/moved" "$work/venv"
    return "$code"
}
nothing_stays() { venv/bin/pip uninstall --quiet --yes nccltap && ! find venv -iname '*nccltap*' | grep .; }

check "the tag $platform is what auditwheel finds in the files" tag_is_what_auditwheel_finds "$wheel"
check "a wheel that claims an older glibc is found out" a_false_tag_is_found_out
check "docs/install.md says glibc $glibc" tag_is_stated
check "the command has the wheel's version" version_is_the_wheels
check "the command finds the tap that came with it" library_is_the_installed_one
check "nccltap doctor finds nothing wrong" "$bin/nccltap" doctor
check "nccltap demo counts what the simulator counts" the_demo_is_equal
check "nccltap run brings the tap into a command" the_tap_is_in_a_command
check "the plugins of vLLM and SGLang are found and load" the_plugin_is_found
check "the plugin is there once where nccltap run brings it along too" the_plugin_is_found_once_under_run
check "manual pages and completions are there" manual_and_completions
check "the licenses of all that is linked are there" licenses_are_there
check "an environment that was moved still works" a_moved_environment_works
check "nothing stays when it is uninstalled" nothing_stays

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
