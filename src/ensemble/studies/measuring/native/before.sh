note() { sed "s|^|#ensemble $1 |" >&2; }
counters() {
  for file in /proc/stat /proc/loadavg /proc/pressure/cpu /proc/pressure/io /proc/pressure/memory "/proc/$$/stat"; do
    { read -r line < "$file" && echo "$file $line"; } 2> /dev/null || :
  done | note "$1"
  date "+time %s.%N" | note "$1"
}
if [ ! -e "$ENSEMBLE_DUMMY" ]; then
  echo "ensemble: $ENSEMBLE_DUMMY is not on this machine; see 'ensemble study measure --help'" >&2
  exit 1
fi
mkdir -p "$ENSEMBLE_MPI_RECORD"
rm -f "$ENSEMBLE_MPI_RECORD"/rank-*
uname -srmn | note 'environment uname'
sed '/^$/q' /proc/cpuinfo | note 'environment cpuinfo'
echo "cpus $(nproc --all)" | note 'environment count'
echo "usable $(env -u OMP_NUM_THREADS nproc)" | note 'environment count'
grep -E '^(MemTotal|MemAvailable|SwapTotal|HugePages_Total):' /proc/meminfo | note 'environment meminfo' || :
grep -sH '' /etc/os-release /sys/devices/system/node/online /sys/devices/system/cpu/smt/active \
  /sys/devices/system/cpu/cpu0/cache/index*/level /sys/devices/system/cpu/cpu0/cache/index*/type \
  /sys/devices/system/cpu/cpu0/cache/index*/size /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor \
  /sys/devices/system/clocksource/clocksource0/current_clocksource /sys/kernel/mm/transparent_hugepage/enabled \
  /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name \
  /sys/class/net/*/speed /sys/class/infiniband/*/ports/*/rate | note 'environment file' || :
"$ENSEMBLE_DUMMY" --canary | note 'before canary'
counters before
