//! Debian's Janus, configured in a temporary folder and spoken to over its HTTP transport.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;
use crate::system::{Folder, Server};

/// Where Debian puts its plugins, by architecture.
const PLUGINS: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/janus/plugins", "/usr/lib/aarch64-linux-gnu/janus/plugins"];
/// For coming up, and for each answer.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Janus {
    // Stopped before its folder goes.
    server: Server,
    _folder: Folder,
    port: u16,
    session: u64,
}

/// One of Janus' handles: a client's connection to a plugin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle(u64);

impl Janus {
    /// Starts it with one plugin, such as `audiobridge`.
    pub(crate) fn start(plugin: &str) -> Result<Janus, Failure> {
        let plugins = PLUGINS.iter().find(|path| Path::new(path).is_dir());
        let plugins = plugins.ok_or("Janus' plugins are not where Debian puts them.")?;
        let others: Vec<String> = fs::read_dir(plugins)
            .map_err(|error| error.to_string())?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".so") && *name != format!("libjanus_{plugin}.so"))
            .collect();
        let port = free_port()?;
        let folder = Folder::new()?;
        let configs = folder.path().display();
        // Sessions are not timed out: keeping them alive would be work of its own.
        folder.write(
            "janus.jcfg",
            &format!(
                "general: {{ configs_folder = \"{configs}\"; plugins_folder = \"{plugins}\"; debug_level = 3; session_timeout = 0; }}\n\
                 media: {{ rtp_port_range = \"40000-60000\" }}\n\
                 nat: {{ ice_lite = true; }}\n\
                 plugins: {{ disable = \"{}\" }}\n\
                 transports: {{ disable = \"libjanus_websockets.so,libjanus_rabbitmq.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so\" }}\n",
                others.join(",")
            ),
        )?;
        folder.write(
            "janus.transport.http.jcfg",
            &format!(
                "general: {{ http = true; port = {port}; ip = \"127.0.0.1\"; base_path = \"/janus\" }}\n"
            ),
        )?;
        folder.write("janus.plugin.audiobridge.jcfg", "general: { local_ip = \"127.0.0.1\" }\n")?;
        let config = folder.path().join("janus.jcfg");
        let mut server =
            Server::start(Command::new("janus").arg("-F").arg(folder.path()).arg("-C").arg(config))?;
        server.first_line()?;
        let mut janus = Janus { server, _folder: folder, port, session: 0 };
        let began = Instant::now();
        let created = loop {
            match janus.ask("", json!({ "janus": "create" })) {
                Ok(answer) => break answer,
                Err(failure) if began.elapsed() > PATIENCE => return Err(failure),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        janus.session = created["data"]["id"].as_u64().ok_or_else(|| format!("Janus answered {created}"))?;
        Ok(janus)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn attach(&self, plugin: &str) -> Result<Handle, Failure> {
        let body = json!({ "janus": "attach", "plugin": format!("janus.plugin.{plugin}") });
        let answer = self.ask(&format!("/{}", self.session), body)?;
        answer["data"]["id"].as_u64().map(Handle).ok_or_else(|| format!("Janus answered {answer}"))
    }

    /// A request that the plugin answers at once.
    pub(crate) fn request(&self, handle: Handle, body: Value) -> Result<Value, Failure> {
        let answer = self.message(handle, body, None)?;
        checked(answer)
    }

    /// A request, with an SDP or without, that the plugin answers by an event.
    pub(crate) fn negotiate(
        &self,
        handle: Handle,
        body: Value,
        jsep: Option<Value>,
    ) -> Result<Value, Failure> {
        self.message(handle, body, jsep)?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let event = self.get(&format!("/{}?maxev=1", self.session))?;
            if event["janus"] == "event" && event["sender"] == handle.0 {
                return checked(event);
            }
        }
        Err("Janus does not answer".into())
    }

    fn message(&self, handle: Handle, body: Value, jsep: Option<Value>) -> Result<Value, Failure> {
        let mut message = json!({ "janus": "message", "body": body });
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        self.ask(&format!("/{}/{}", self.session, handle.0), message)
    }

    fn ask(&self, path: &str, mut body: Value) -> Result<Value, Failure> {
        body["transaction"] = json!("bench");
        let body = body.to_string();
        let length = body.len();
        self.http(&format!(
            "POST /janus{path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn get(&self, path: &str) -> Result<Value, Failure> {
        self.http(&format!("GET /janus{path} HTTP/1.0\r\n\r\n"))
    }

    fn http(&self, request: &str) -> Result<Value, Failure> {
        let exchange = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = exchange().map_err(|error| format!("Janus cannot be reached: {error}"))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let value: Value =
            serde_json::from_str(body).map_err(|error| format!("Janus answered {answer}: {error}"))?;
        if value["janus"] == "error" { Err(format!("Janus refuses: {value}")) } else { Ok(value) }
    }
}

/// The plugin's own errors come inside good answers.
fn checked(answer: Value) -> Result<Value, Failure> {
    let data = &answer["plugindata"]["data"];
    if data["error"].is_string() { Err(format!("Janus refuses: {data}")) } else { Ok(answer) }
}

fn free_port() -> Result<u16, Failure> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| error.to_string())
}
