//! What ends the processes of a test run that was killed itself: a shell that waits until this process is gone, and then kills
//! what was given into its care. A process that ends in order takes everything back from it before.

use rustix::process::Pid;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads `keep KIND WHAT` and `drop KIND WHAT`; its input ends with the process that writes it. A process is known by its number and
/// the moment of its start, since numbers are given again. A daemon, which others start and start again, by what its command line names: it
/// is asked first, so that it ends its children.
const SCRIPT: &str = r#"
kept=' '
while read -r verb what; do
    case $verb in
        keep) kept="$kept$what " ;;
        drop) case $kept in *" $what "*) kept="${kept%%" $what "*} ${kept#*" $what "}" ;; esac ;;
    esac
done
started() { stat=$(cat "/proc/$1/stat" 2>/dev/null) && set -- ${stat##*) } && echo "${20}"; }
for what in $kept; do
    case $what in process:*)
        what=${what#process:}
        [ "$(started "${what%:*}")" = "${what#*:}" ] && kill -KILL "${what%:*}"
    esac
done
for what in $kept; do
    case $what in
        daemon:*)
            for signal in TERM KILL; do
                for line in /proc/[0-9]*/cmdline; do
                    tr '\0' ' ' 2>/dev/null < "$line" | grep -qF "${what#daemon:}" || continue
                    pid=${line#/proc/}
                    kill "-$signal" "${pid%/cmdline}"
                done
                sleep 1
            done
            ;;
        group:*)
            for _ in 1 2 3 4 5 6 7 8 9 10; do
                pids=$(find "${what#group:}" -name cgroup.procs -exec cat {} +)
                [ -n "$pids" ] && kill -KILL $pids && sleep 0.1
            done
            find "${what#group:}" -depth -type d -exec rmdir {} +
            ;;
    esac
done
"#;

/// Something in the keeper's care, until this is dropped.
#[derive(Debug)]
pub(crate) struct Kept(String);

impl Kept {
    /// A process that this one has just started.
    pub(crate) fn process(child: &Child) -> Kept {
        let pid = Pid::from_child(child);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name in brackets, from the third field on; the start is the 22nd.
        let started = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(19));
        Kept::new(format!("process:{pid}:{}", started.unwrap_or("0")))
    }

    /// Whatever has this file in its command line.
    pub(crate) fn daemon(file: &Path) -> Kept {
        Kept::new(format!("daemon:{}", file.display()))
    }

    /// A control group, with all in it.
    pub(crate) fn group(group: &Path) -> Kept {
        Kept::new(format!("group:{}", group.display()))
    }

    fn new(what: String) -> Kept {
        tell(&format!("keep {what}\n"));
        Kept(what)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        tell(&format!("drop {}\n", self.0));
    }
}

fn tell(line: &str) {
    static KEEPER: OnceLock<Mutex<Child>> = OnceLock::new();
    let mut keeper = KEEPER.get_or_init(|| Mutex::new(start())).lock().expect("no panic");
    let pipe = keeper.stdin.as_mut().expect("its input");
    pipe.write_all(line.as_bytes()).expect("the keeper listens");
}

/// In a group of its own, so that what interrupts the tests leaves it alone.
fn start() -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().expect("a shell")
}
