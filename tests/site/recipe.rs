//! The nginx of the manual: it sends elsewhere what a host with a flag does not take, whatever the request does.

use super::front::nginx;
use crate::support::http::http;
use crate::support::{Running, SOON, own_address, wait_for};
use std::path::Path;

/// The blocks of the chapter: the one of the hosts, then the one in front.
fn blocks() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/balancers.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, chapter) = page.split_once("\n### nginx\n").expect("the chapter");
    let texts = chapter.split("```text\n").skip(1);
    texts.map(|text| text.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

/// Two hosts and what stands in front of them, as the manual has it.
fn start(folder: &Path) -> (Running, String) {
    let [host, front] = &blocks()[..] else { panic!("not two blocks") };
    let (address, hosts) = (own_address(), [own_address(), own_address()]);
    let mut servers = String::new();
    for (place, at) in hosts.iter().enumerate() {
        let flag = folder.join(format!("h{place}.out"));
        let host =
            host.replace("listen 80;", &format!("listen {at};")).replace("/run/app.out", &flag.display().to_string());
        servers.push_str(&host.replace("# the service itself", &format!("proxy_pass http://service/h{place};")));
        servers.push('\n');
    }
    let front = front.replace("10.1.0.31:80", &hosts[0]).replace("10.1.0.32:80", &hosts[1]);
    let front = front.replacen("server {\n", &format!("server {{\n    listen {address};\n"), 1);
    assert!(front.contains(&hosts[1]) && servers.contains("h1.out"), "{front}{servers}");
    let service = own_address();
    // A service that takes anything, which `return` by itself would not show.
    let service = format!(
        "upstream service {{ server {service}; }}\nserver {{\n    listen {service};\n    location / {{ return 200 \"from $uri\"; }}\n}}\n"
    );
    (nginx(folder, &format!("{service}{servers}{front}")), address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nginx_as_in_the_manual_sends_every_request_to_a_host_without_a_flag() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_nginx, address) = start(folder.path());
    wait_for("nginx listens", SOON, || std::net::TcpStream::connect(&address).ok().map(drop));
    let client = http().build().expect("a client");
    for flagged in ["h0.out", "h1.out"] {
        let flag = folder.path().join(flagged);
        std::fs::write(&flag, "").expect("written");
        for number in 0..40 {
            for method in [reqwest::Method::GET, reqwest::Method::POST] {
                let request = client.request(method.clone(), format!("http://{address}/")).body(number.to_string());
                let answer = request.send().await.expect("an answer");
                let (status, text) = (answer.status(), answer.text().await.expect("a text"));
                let is_elsewhere = text.starts_with("from /h") && !text.contains(&flagged[..2]);
                assert!(status == 200 && is_elsewhere, "{method} {number} with {flagged}: {status} {text}");
            }
        }
        std::fs::remove_file(&flag).expect("there");
    }
}
