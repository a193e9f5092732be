#!/usr/bin/env bash
# Installs the system packages that tests of the C engine, of phones and of boards use, if apt and root are
# there. Without them those tests are skipped, each with its reason.
set -uo pipefail

declare -A package_of=(
  [gcc]=gcc [make]=make [cmake]=cmake [clang]=clang [valgrind]=valgrind
  [aarch64-linux-gnu-gcc]=gcc-aarch64-linux-gnu
  [arm-linux-gnueabihf-gcc]=gcc-arm-linux-gnueabihf
  [riscv64-linux-gnu-gcc]=gcc-riscv64-linux-gnu
  [qemu-aarch64-static]=qemu-user-static
  [qemu-system-arm]=qemu-system-arm [arm-none-eabi-gcc]="gcc-arm-none-eabi libnewlib-arm-none-eabi"
  [adb]=adb [chromium]=chromium [ssh]=openssh-client [strace]=strace
)
# An ssh server only where the system forbids that packages start services, as container images do: no machine
# shall be left with an open port. The tests start it themselves, on the loopback.
[ -x /usr/sbin/policy-rc.d ] && package_of[sshd]=openssh-server

missing=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null || missing+=(${package_of[$program]})
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "note: tests that need ${missing[*]} will be skipped; as root: apt-get install ${missing[*]}"
  exit 0
fi
echo "installing ${missing[*]}"
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null; }; then
  echo "note: apt-get could not install ${missing[*]}; the tests that need them will be skipped"
fi
