//! What stands in front of the hosts: an HAProxy, or an nginx that looks at flags.

use super::{HOSTS, pages};
use crate::support::haproxy::{DRAIN, Haproxy, shown};
use crate::support::{PhpFpm, Running, SOON, own_address, wait_for};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of both.
pub(super) enum Front {
    Haproxy(Haproxy),
    Nginx(Nginx),
}

impl Front {
    /// Where visitors come in.
    pub(super) fn address(&self) -> &str {
        match self {
            Front::Haproxy(haproxy) => &haproxy.front,
            Front::Nginx(nginx) => &nginx.address,
        }
    }

    /// How many hosts are out, as it says itself; none when it does not say.
    pub(super) fn out(&self) -> Option<usize> {
        match self {
            Front::Haproxy(haproxy) => {
                let states = haproxy.ask("show servers state");
                let servers = HOSTS.iter().map(|host| shown(&states, &format!("app/{host}")));
                let servers = servers.collect::<Option<Vec<_>>>()?;
                // One that is in and not running would get nothing either; that is nobody's doing here.
                servers.iter().all(|server| server.operation == 2 || server.admin != 0).then_some(())?;
                Some(servers.iter().filter(|server| server.admin & DRAIN != 0).count())
            }
            Front::Nginx(nginx) => Some(std::fs::read_dir(&nginx.flags).expect("a folder").count()),
        }
    }

    /// How a host leaves it.
    pub(super) fn depool(&self, folder: &Path) -> String {
        match self {
            Front::Haproxy(haproxy) => {
                format!("kind = \"haproxy\"\nsockets = [\"{}\"]\nserver = \"app/{{host}}\"", haproxy.socket.display())
            }
            Front::Nginx(_) => format!("kind = \"file\"\npath = \"{}/{{host}}\"", flags(folder).display()),
        }
    }
}

/// An HAProxy's backend: it speaks FastCGI to each host, and tries nothing twice.
pub(super) fn haproxy(folder: &Path, fpms: &[PhpFpm]) -> String {
    let mut text = "backend app\n    balance roundrobin\n    retries 0\n    use-fcgi-app php\n    option httpchk GET /ping\n    timeout check 5s\n    \
         default-server proto fcgi check inter 200ms fall 3 rise 1\n".to_owned();
    for (host, fpm) in HOSTS.iter().zip(fpms) {
        writeln!(text, "    server {host} unix@{}", fpm.socket().display()).expect("written");
    }
    // A connection that is kept would keep a process of php-fpm, too.
    write!(text, "fcgi-app php\n    docroot {}\n    no option keep-conn\n", pages(folder).display()).expect("written");
    text
}

fn flags(folder: &Path) -> PathBuf {
    folder.join("flags")
}

/// An nginx that looks at a flag for each host at every request, and asks the next one when it is there. It tries nothing twice.
pub(super) struct Nginx {
    address: String,
    flags: PathBuf,
    _process: Running,
}

impl Nginx {
    pub(super) fn start(folder: &Path, fpms: &[PhpFpm]) -> Nginx {
        let (address, flags, own) = (own_address(), flags(folder), folder.join("nginx"));
        for folder in [&flags, &own] {
            std::fs::create_dir(folder).expect("a folder");
        }
        let mut sockets = String::new();
        let mut upstreams = String::new();
        for (place, (host, fpm)) in HOSTS.iter().zip(fpms).enumerate() {
            let next = HOSTS[(place + 1) % HOSTS.len()];
            writeln!(sockets, "        {host} {next};").expect("written");
            writeln!(upstreams, "    upstream {host} {{ server unix:{}; }}", fpm.socket().display()).expect("written");
        }
        let text = format!(
            "split_clients $request_id $first {{\n        33.3% h0;\n        33.3% h1;\n        * h2;\n    }}\n    \
             map $first $next {{\n{sockets}    }}\n{upstreams}    \
             server {{\n        listen {address};\n        location / {{\n            set $to $first;\n            \
             if (-f {flags}/$first) {{ set $to $next; }}\n            fastcgi_next_upstream off;\n            \
             fastcgi_param SCRIPT_FILENAME {pages}/index.php;\n            fastcgi_param QUERY_STRING $query_string;\n            \
             fastcgi_param REQUEST_METHOD $request_method;\n            fastcgi_pass $to;\n        }}\n    }}\n",
            flags = flags.display(),
            pages = pages(folder).display(),
        );
        let nginx = Nginx { address, flags, _process: nginx(&own, &text) };
        wait_for("nginx listens", SOON, || std::net::TcpStream::connect(&nginx.address).ok().map(drop));
        nginx
    }
}

/// Starts an nginx whose files lie in this folder, with this inside of its `http`.
pub(super) fn nginx(own: &Path, http: &str) -> Running {
    let user = if rustix::process::getuid().is_root() { "user root;\n" } else { "" };
    let text = format!(
        "{user}daemon off;\nmaster_process off;\nworker_rlimit_nofile 8192;\npid {own}/pid;\nerror_log {own}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n    access_log off;\n    client_body_temp_path {own}/a;\n    fastcgi_temp_path {own}/b;\n    \
         proxy_temp_path {own}/c;\n    uwsgi_temp_path {own}/d;\n    scgi_temp_path {own}/e;\n{http}\n}}\n",
        own = own.display(),
    );
    let config = own.join("nginx.conf");
    std::fs::write(&config, text).expect("a configuration");
    let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let log = std::fs::File::create(own.join("log")).expect("a log");
    let mut command = Command::new(program.unwrap_or("nginx"));
    command.arg("-p").arg(own).arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let started = command.spawn();
    let child = started.unwrap_or_else(|cause| panic!("cannot start nginx ({cause}): apt-get install nginx-light"));
    Running::of(child)
}
