//! A real Apache Kafka broker (KRaft, one process) for tests: plain and SASL_SSL, killed and started at
//! will.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A broker. Tests of one binary share it and use topics of their own; it ends with the process.
#[derive(Debug)]
pub struct Broker {
    jars: PathBuf,
    python: PathBuf,
    folder: PathBuf,
    /// Plain, SASL_SSL, and the controller's.
    ports: [u16; 3],
    child: Mutex<Option<Child>>,
    spawner: Spawner,
}

/// A thread that starts programs. They end with the thread that started them, and a test's ends with
/// the test.
#[derive(Debug)]
struct Spawner {
    asked: SyncSender<Command>,
    started: Mutex<Receiver<std::io::Result<Child>>>,
}

/// Who may use SASL_SSL, and with which password.
pub const USER: [&str; 2] = ["alice", "s3cret"];

const LONG: Duration = Duration::from_mins(2);

/// Of the store that keytool makes.
const STORE_PASSWORD: &str = "changeit";

// === impl Broker ===

impl Broker {
    /// Starts one in this folder, which is emptied. `None` where Java, Maven or Python is missing: said
    /// loudly.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(what: &str, folder: &Path) -> Option<Self> {
        let jars = crate::server(what, "kafka")?;
        let python = crate::python(what)?;
        if folder.exists() {
            std::fs::remove_dir_all(folder).expect("the folder of an earlier broker");
        }
        std::fs::create_dir_all(folder).expect("a folder for the broker");
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let held = [free(), free(), free()];
        let ports = held.map(|it| it.local_addr().expect("its address").port());
        let (child, spawner) = (Mutex::new(None), Spawner::start());
        let broker = Self { jars, python, folder: folder.to_owned(), ports, child, spawner };
        broker.make_certificate();
        let properties = broker.folder.join("server.properties");
        std::fs::write(&properties, broker.properties()).expect("the broker's settings");
        // Any cluster id does: 16 bytes in base64.
        let format = ["format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"];
        broker.run(broker.java("kafka.tools.StorageTool").args(format).arg(&properties));
        broker.restart();
        Some(broker)
    }

    /// `host:port` of the plain listener.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// `host:port` of the listener with TLS and passwords.
    #[must_use]
    pub fn secure(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// The certificate of the broker, which signed itself.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// As `kill -9`.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            child.kill().expect("the broker is killed");
            child.wait().expect("the broker has ended");
        }
    }

    /// Starts it, after a kill with what it had on disk, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        self.kill();
        let log = self.folder.join("broker.log");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "java", "-Xmx512m", "-Xms128m"])
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-cp"])
            .arg(format!("{}/*", self.jars.display()))
            .arg("kafka.Kafka")
            .arg(self.folder.join("server.properties"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the broker's log"));
        let child = self.spawner.spawn(command);
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        crate::eventually("the Kafka broker is ready", LONG, || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            said.contains("Kafka Server started").then_some(())
        });
    }

    /// Makes a topic; settings as in `max.message.bytes=1000`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make_topic(&self, name: &str, partitions: u32, settings: &[&str]) {
        let partitions = partitions.to_string();
        drop(self.ask(&self.plain(), &[&["topic", name, &partitions], settings].concat()));
    }

    /// Runs `tests/readers/kafka.py` against these brokers and gives what that printed.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask(&self, brokers: &str, args: &[&str]) -> Vec<u8> {
        let script = crate::readers().join("kafka.py");
        self.run(Command::new(&self.python).arg(script).arg(brokers).args(args))
    }

    /// One of Kafka's own programs, by its class.
    #[must_use]
    pub fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(format!("{}/*", self.jars.display()));
        command.arg(class);
        command
    }

    fn make_certificate(&self) {
        let store = self.folder.join("server.p12");
        let common = ["-alias", "server", "-storetype", "PKCS12", "-storepass", STORE_PASSWORD];
        let made = [
            "-genkeypair",
            "-keyalg",
            "EC",
            "-groupname",
            "secp256r1",
            "-validity",
            "3650",
            "-dname",
            "CN=localhost",
            "-ext",
            "SAN=dns:localhost,ip:127.0.0.1",
        ];
        let keytool = || {
            let mut command = Command::new("keytool");
            command.arg("-keystore").arg(&store);
            command
        };
        self.run(keytool().args(made).args(common));
        let pem = self.run(keytool().args(["-exportcert", "-rfc"]).args(common));
        let written = File::create(self.ca()).and_then(|mut file| file.write_all(&pem));
        written.expect("the broker's certificate");
    }

    fn run(&self, command: &mut Command) -> Vec<u8> {
        let output = command.current_dir(&self.folder).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        output.stdout
    }

    fn properties(&self) -> String {
        let [plain, secure, controller] = self.ports;
        let [user, password] = USER;
        let (folder, own) = (self.folder.display(), "org.apache.kafka.common.security.plain");
        let compose = crate::servers().join("../../compose/kafka.properties");
        let shipped = std::fs::read_to_string(compose).expect("the broker's settings as shipped");
        // Of two lines for one setting the later one counts.
        format!(
            "{shipped}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
             ssl.keystore.location={folder}/server.p12\n\
             ssl.keystore.password={STORE_PASSWORD}\n\
             ssl.keystore.type=PKCS12\n\
             sasl.enabled.mechanisms=PLAIN\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS\n\
             allow.everyone.if.no.acl.found=true\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config={own}.PlainLoginModule required user_{user}=\"{password}\";\n\
             log.dirs={folder}/data\n\
             controlled.shutdown.enable=false\n"
        )
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

// === impl Spawner ===

impl Spawner {
    fn start() -> Self {
        let (asked, commands) = sync_channel::<Command>(1);
        let (answer, started) = sync_channel(1);
        std::thread::spawn(move || {
            for mut command in commands {
                if answer.send(command.spawn()).is_err() {
                    return;
                }
            }
        });
        Self { asked, started: Mutex::new(started) }
    }

    fn spawn(&self, command: Command) -> Child {
        self.asked.send(command).expect("the thread that starts programs");
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.recv().expect("its answer").expect("the program starts")
    }
}
