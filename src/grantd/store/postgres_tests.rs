//! The PostgreSQL store on a server of its own, and what only several nodes have to keep.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use grantd_model::{ChainHead, verify_chain};
use jiff::Timestamp;
use tokio_postgres::{Config, NoTls};

use super::contract::{Stage, at, audited, contract, grant, insert_grant};
use super::*;

/// Starts a server below a directory of its own, says where, and stops it when its input ends - that is, when this
/// process does, however it does.
const SERVER: &str = r#"
set -e
for bin in /usr/lib/postgresql/*/bin; do PATH="$PATH:$bin"; done
command -v initdb >/dev/null && command -v pg_ctl >/dev/null || { echo "missing: initdb and pg_ctl"; exit 1; }
dir=$(mktemp -d /tmp/grantd-pg.XXXXXX)
trap 'pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
cd "$dir"
initdb -D "$dir/data" -U grantd --auth=trust --encoding=UTF8 --locale=C --no-sync >"$dir/log" 2>&1 &&
pg_ctl -D "$dir/data" -l "$dir/log" -w -o "-k $dir -c listen_addresses= -c unix_socket_permissions=0700" start >>"$dir/log" 2>&1 ||
{ tr '\n' ' ' <"$dir/log"; exit 1; }
echo "ready $dir"
cat >/dev/null
"#;

struct Server {
    directory: String,
    /// Its input stays open for as long as this process lives.
    _guardian: Child,
}

fn server() -> &'static Server {
    static SERVER_ONCE: OnceLock<Server> = OnceLock::new();
    SERVER_ONCE.get_or_init(|| {
        let mut command = Command::new("sh");
        command
            .args(["-c", SERVER])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // initdb refuses to run as root.
        if rustix::process::geteuid().is_root() {
            let user = ["postgres", "nobody"].iter().find_map(|name| nix::unistd::User::from_name(name).unwrap());
            let user = user.expect("a user postgres or nobody to run the server as");
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let mut guardian = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(guardian.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let Some(directory) = said.trim().strip_prefix("ready ") else {
            panic!("no PostgreSQL server: install the package postgresql (initdb and pg_ctl); it says: {said}");
        };
        Server { directory: directory.to_owned(), _guardian: guardian }
    })
}

/// A database of its own on the server.
async fn database() -> Config {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = tokio::task::spawn_blocking(server).await.unwrap();
    let mut config = Config::new();
    config.host_path(&server.directory).user("grantd").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    config.dbname(&name);
    config
}

async fn connect(config: &Config, node: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::connect(config.clone(), NodeId(node.to_owned())).await
}

struct PostgresStage {
    config: Config,
    store: Option<Arc<dyn Store>>,
}

async fn stage() -> PostgresStage {
    let config = database().await;
    let store: Arc<dyn Store> = Arc::new(connect(&config, "one").await.unwrap());
    PostgresStage { config, store: Some(store) }
}

#[async_trait]
impl Stage for PostgresStage {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    async fn restart(&mut self) {
        let store = self.store.take().unwrap();
        assert_eq!(Arc::strong_count(&store), 1, "somebody else still holds the store");
        drop(store);
        self.store = Some(Arc::new(connect(&self.config, "one").await.unwrap()));
    }

    async fn claim_for_other(&self, name: &str, now: Timestamp, until: Timestamp) -> bool {
        connect(&self.config, "other").await.unwrap().claim(name, now, until).await.unwrap()
    }
}

contract!(stage);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_each_node_has_its_own_chain_over_shared_state() {
    let config = database().await;
    // Both bring the tables up to date at once.
    let (one, two) = tokio::join!(connect(&config, "one"), connect(&config, "two"));
    let (one, two) = (one.unwrap(), two.unwrap());
    insert_grant(&one, &grant(1)).await;
    insert_grant(&two, &grant(2)).await;
    insert_grant(&one, &grant(3)).await;
    assert_eq!((one.head().await.unwrap().seq, two.head().await.unwrap().seq), (2, 1));
    for store in [&one, &two] {
        let records = store.audit(0, 10).await.unwrap();
        assert_eq!(verify_chain(store.node(), ChainHead::EMPTY, &records), Ok(store.head().await.unwrap()));
        assert_eq!(store.grants(GrantFilter::default()).await.unwrap().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_never_passes_its_limit_between_nodes() {
    let config = database().await;
    let nodes = [Arc::new(connect(&config, "one").await.unwrap()), Arc::new(connect(&config, "two").await.unwrap())];
    let commits: Vec<_> = (0..32)
        .map(|nth: usize| {
            let store = Arc::clone(&nodes[nth % 2]);
            let (counter, member) = ("uses".to_owned(), nth.to_string());
            let guards = vec![Guard::CounterBelow { counter: counter.clone(), member: member.clone(), limit: 5 }];
            let count = Transaction { guards, ..audited("count", vec![Write::Count { counter, member }]) };
            tokio::spawn(async move { store.commit(count).await })
        })
        .collect();
    let mut committed = 0;
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => committed += 1,
            Err(StoreError::Guard(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((committed, nodes[0].counted("uses").await.unwrap()), (5, 5));
}

#[tokio::test]
async fn p1_a_lost_connection_poisons_until_it_is_opened_anew() {
    let config = database().await;
    let store = connect(&config, "one").await.unwrap();
    insert_grant(&store, &grant(1)).await;
    let (client, connection) = config.connect(NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.query(end, &[]).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let first = store.commit(audited("x", Vec::new())).await.unwrap_err();
    assert!(matches!(first, StoreError::Io(_)), "{first}");
    assert_eq!(store.poisoned(), Some(first.to_string()));
    let later = store.commit(audited("x", Vec::new())).await.unwrap_err();
    assert!(matches!(later, StoreError::Poisoned(_)), "{later}");
    assert!(matches!(store.claim("x", at(0), at(1)).await, Err(StoreError::Poisoned(_))));
    store.reopen().await.unwrap();
    insert_grant(&store, &grant(2)).await;
    let records = store.audit(0, 10).await.unwrap();
    assert_eq!(verify_chain(store.node(), ChainHead::EMPTY, &records), Ok(store.head().await.unwrap()));
    assert_eq!(records.len(), 2);
}

#[tokio::test]
async fn p13_a_tampered_chain_is_found_at_connecting() {
    let config = database().await;
    let store = connect(&config, "one").await.unwrap();
    insert_grant(&store, &grant(1)).await;
    insert_grant(&store, &grant(2)).await;
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("UPDATE audit SET record = replace(record, 'main', 'mail') WHERE seq = 2").await.unwrap();
    for error in [connect(&config, "one").await.unwrap_err(), store.reopen().await.unwrap_err()] {
        assert!(matches!(&error, StoreError::Damaged(why) if why.contains("record 2 was changed")), "{error}");
    }
    assert!(matches!(store.commit(audited("x", Vec::new())).await, Err(StoreError::Poisoned(_))));
    connect(&config, "two").await.unwrap();
}
