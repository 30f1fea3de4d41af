use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use grantd_model::KeyAlgorithm;
use grantd_provider_api::RandomIds;
use jiff::SignedDuration;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use tempfile::TempDir;

use super::*;

#[derive(Debug)]
struct TestClock(Mutex<Timestamp>);

impl TestClock {
    fn advance(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Stage {
    directory: TempDir,
    clock: Arc<TestClock>,
    settings: IssuerSettings,
}

impl Stage {
    fn new(algorithm: KeyAlgorithm) -> Self {
        let settings = IssuerSettings {
            url: "https://tokens.example.com".to_owned(),
            algorithm,
            rotate_after: Duration::from_secs(90 * 86_400),
            publish_ahead: Duration::from_secs(86_400),
            keys: Vec::new(),
        };
        let clock = Arc::new(TestClock(Mutex::new("2026-11-22T12:00:00Z".parse().unwrap())));
        Self { directory: tempfile::tempdir().unwrap(), clock, settings }
    }

    fn issuer(&self) -> Issuer {
        let issuer = self.named(FEDERATION, LONGEST_ASSERTION);
        issuer.open().unwrap();
        issuer
    }

    fn named(&self, name: &'static str, longest: Duration) -> Issuer {
        let ground = Ground {
            state_dir: self.directory.path().to_owned(),
            owners: Owners::root_and_self(),
            clock: self.clock.clone(),
            ids: Arc::new(RandomIds),
        };
        Issuer::new(name, &self.settings, longest, ground).unwrap()
    }

    /// The issuer whose tokens are handed out, at work.
    fn handing_out(&self) -> Issuer {
        let issuer = self.named(OIDC, LONGEST_PASSPORT);
        issuer.open().unwrap();
        tend(&issuer);
        issuer
    }

    /// With everything done that is due.
    fn tended(&self) -> Issuer {
        let issuer = self.issuer();
        tend(&issuer);
        issuer
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("federation-keys.json")
    }

    fn write_key(&mut self, name: &str, key: &PrivateKey) {
        let path = self.directory.path().join(name);
        fs::write(&path, key.pem().expose()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if !self.settings.keys.contains(&path) {
            self.settings.keys.push(path);
        }
    }
}

fn tend(issuer: &Issuer) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    while let Some(change) = issuer.due().unwrap() {
        kinds.push(change.kind());
        issuer.apply(change).unwrap();
    }
    kinds
}

fn publish(issuer: &Issuer) {
    let ids = issuer.ring().keys().iter().map(|key| key.id.clone()).collect();
    issuer.apply(issuer.published(ids).unwrap()).unwrap();
}

fn asked<'a>(claims: &'a [(&'a str, Value)]) -> Assertion<'a> {
    Assertion { audience: "sts.example.com", subject: "grantd", lifetime: LONGEST_ASSERTION, claims }
}

/// What a verifier finds that has nothing but the published keys.
fn verified(issuer: &Issuer, token: &Secret) -> Option<Value> {
    let documents = issuer.documents();
    let keys = &documents.iter().find(|document| document.path.ends_with("jwks.json")).unwrap().content["keys"];
    let header = decode_header(token.expose()).unwrap();
    let key = keys.as_array().unwrap().iter().find(|key| key["kid"] == json!(header.kid))?;
    assert_eq!(key["use"], "sig");
    assert!(key.get("d").is_none() && key.get("p").is_none(), "{key}");
    let key: Jwk = serde_json::from_value(key.clone()).unwrap();
    let mut rules = Validation::new(header.alg);
    assert!(matches!(header.alg, Algorithm::RS256 | Algorithm::ES256));
    rules.set_audience(&["sts.example.com"]);
    rules.set_issuer(&["https://tokens.example.com"]);
    // The clock of the test is not the machine's.
    rules.validate_exp = false;
    Some(decode::<Value>(token.expose(), &DecodingKey::from_jwk(&key).unwrap(), &rules).unwrap().claims)
}

#[test]
fn what_is_signed_verifies_with_what_is_published() {
    for algorithm in [KeyAlgorithm::Rs256, KeyAlgorithm::Es256] {
        let stage = Stage::new(algorithm);
        let issuer = stage.tended();
        let tags = json!({ "principal_tags": { "a": ["b"] } });
        let token = issuer.mint(&asked(&[("https://aws.amazon.com/tags", tags.clone())])).unwrap();
        let claims = verified(&issuer, &token).unwrap();
        assert_eq!(claims["aud"], "sts.example.com", "one audience, and no list");
        assert_eq!((&claims["sub"], &claims["https://aws.amazon.com/tags"]), (&json!("grantd"), &tags));
        let second = |name: &str| claims[name].as_i64().unwrap();
        assert_eq!(second("exp") - second("iat"), 60);
        assert_eq!(second("nbf"), second("iat"));
        assert!(second("exp") <= issuer.ground.clock.now().as_second() + 60);
        let other = verified(&issuer, &issuer.mint(&asked(&[])).unwrap()).unwrap();
        assert_ne!(other["jti"], claims["jti"]);
        let description = issuer.documents().remove(1).content;
        assert_eq!(description["issuer"], "https://tokens.example.com");
        assert_eq!(description["jwks_uri"], "https://tokens.example.com/.well-known/jwks.json");
        assert_eq!(description["id_token_signing_alg_values_supported"], json!([algorithm]));
    }
}

#[test]
fn a_standard_claim_cannot_be_set_nor_a_life_be_longer() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.tended();
    let refused = |assertion: &Assertion<'_>| {
        let error = issuer.mint(assertion).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    };
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", ""] {
        refused(&asked(&[(name, json!("forged"))]));
    }
    refused(&asked(&[("a", json!(1)), ("a", json!(2))]));
    refused(&Assertion { lifetime: Duration::from_secs(61), ..asked(&[]) });
    refused(&Assertion { lifetime: Duration::from_secs(5), ..asked(&[]) });
    for text in ["", "a b", "a\n", &"x".repeat(256)] {
        refused(&Assertion { audience: text, ..asked(&[]) });
        refused(&Assertion { subject: text, ..asked(&[]) });
    }
}

fn passport<'a>(until: Timestamp, claims: &'a [(&'a str, Value)]) -> Passport<'a> {
    Passport { id: "lease-a", audience: "sts.example.com", subject: "grantd:pipeline:deploy", until, claims }
}

#[test]
fn p3_a_token_that_is_handed_out_ends_when_it_is_told_to_whenever_it_is_made() {
    for algorithm in [KeyAlgorithm::Rs256, KeyAlgorithm::Es256] {
        let stage = Stage::new(algorithm);
        let issuer = stage.handing_out();
        let until = issuer.ground.clock.now().checked_add(SignedDuration::from_secs(300)).unwrap();
        stage.clock.advance(7);
        let ours = json!({ "grant": "grant-a" });
        let signed = issuer.sign(&passport(until, &[("grantd", ours.clone())])).unwrap();
        assert_eq!(signed.key, issuer.ring().signing().unwrap().id);
        let claims = verified(&issuer, &signed.token).unwrap();
        assert_eq!(claims["exp"], until.as_second(), "not a second later, although it was made later");
        assert_eq!(
            (&claims["jti"], &claims["sub"], &claims["grantd"]),
            (&json!("lease-a"), &json!("grantd:pipeline:deploy"), &ours)
        );
        assert_eq!(
            (claims["iat"].as_i64(), &claims["nbf"]),
            (Some(issuer.ground.clock.now().as_second() - 5), &claims["iat"])
        );
    }
}

#[test]
fn p3_no_token_is_handed_out_that_is_over_or_lives_too_long() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.handing_out();
    let at = |seconds| issuer.ground.clock.now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
    issuer.sign(&passport(at(3_600), &[])).unwrap();
    let refused = |passport: &Passport<'_>| assert_eq!(issuer.sign(passport).unwrap_err().kind, ErrorKind::Invalid);
    refused(&passport(at(3_601), &[]));
    refused(&passport(at(0), &[]));
    refused(&passport(at(-1), &[]));
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", ""] {
        refused(&passport(at(60), &[(name, json!("forged"))]));
    }
    refused(&Passport { audience: "", ..passport(at(60), &[]) });
}

#[test]
fn no_issuer_signs_what_the_other_is_there_for() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let (federation, oidc) = (stage.tended(), stage.handing_out());
    let until = oidc.ground.clock.now().checked_add(SignedDuration::from_secs(60)).unwrap();
    assert_eq!(oidc.mint(&asked(&[])).unwrap_err().kind, ErrorKind::Config);
    assert_eq!(federation.sign(&passport(until, &[])).unwrap_err().kind, ErrorKind::Config);
}

#[test]
fn issuers_with_a_url_or_a_key_in_common_are_not_apart() {
    let mut stage = Stage::new(KeyAlgorithm::Es256);
    let federation = stage.issuer();
    let refused = |one: &Issuer, other: &Issuer, word: &str| {
        let error = one.is_apart_from(other).unwrap_err().to_string();
        assert!(
            error.contains("issuer oidc") && error.contains("issuer federation") && error.contains(word),
            "{error}"
        );
    };
    refused(&stage.handing_out(), &federation, "url");
    stage.settings.url = "https://tokens.example.com/out".to_owned();
    stage.handing_out().is_apart_from(&federation).unwrap();
    // The same key, in a file of another name.
    let key = PrivateKey::generate(KeyAlgorithm::Es256).unwrap();
    stage.write_key("one.pem", &key);
    let oidc = stage.named(OIDC, LONGEST_PASSPORT);
    stage.settings.url = "https://tokens.example.com".to_owned();
    stage.settings.keys.clear();
    stage.write_key("two.pem", &key);
    refused(&oidc, &stage.named(FEDERATION, LONGEST_ASSERTION), "key");
    // A key that was made here, and that somebody copied.
    stage.settings.keys.clear();
    let made = stage.tended();
    fs::copy(stage.file(), stage.directory.path().join("oidc-keys.json")).unwrap();
    stage.settings.url = "https://tokens.example.com/out".to_owned();
    let copied = stage.named(OIDC, LONGEST_PASSPORT);
    copied.is_apart_from(&made).unwrap();
    copied.open().unwrap();
    refused(&copied, &made, "key");
}

#[test]
fn a_rotation_overlaps_on_both_sides() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.tended();
    publish(&issuer);
    let old = issuer.ring().signing().unwrap().id.clone();
    let early = issuer.mint(&asked(&[])).unwrap();
    issuer.apply(issuer.rotate().unwrap()).unwrap();
    assert!(issuer.rotate().is_err(), "one waits already");
    // In what is to be published, and not yet in use, however long nobody publishes it.
    assert_eq!(issuer.ring().keys().len(), 2);
    stage.clock.advance(40 * 86_400);
    assert!(tend(&issuer).is_empty());
    assert_eq!(issuer.ring().signing().unwrap().id, old);
    publish(&issuer);
    stage.clock.advance(86_399);
    assert!(tend(&issuer).is_empty());
    stage.clock.advance(1);
    assert_eq!(tend(&issuer), ["issuer.key_signs"]);
    let new = issuer.ring().signing().unwrap().id.clone();
    assert_ne!(new, old);
    // A token by each verifies, until the old one's last token is dead.
    let late = issuer.mint(&asked(&[])).unwrap();
    assert!(verified(&issuer, &early).is_some() && verified(&issuer, &late).is_some());
    assert!(!fs::read_to_string(stage.file()).unwrap().contains(&format!("\"{old}\":\"-----BEGIN")));
    stage.clock.advance(60 + 300);
    assert_eq!(tend(&issuer), ["issuer.key_retired"]);
    assert!(verified(&issuer, &early).is_none() && verified(&issuer, &late).is_some());
}

#[test]
fn by_age_a_key_is_followed_by_another() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.tended();
    stage.clock.advance(90 * 86_400 - 1);
    assert!(tend(&issuer).is_empty());
    stage.clock.advance(1);
    assert_eq!(tend(&issuer), ["issuer.key_made"]);
}

#[test]
fn a_key_that_leaked_is_out_at_once() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.tended();
    let stolen = issuer.mint(&asked(&[])).unwrap();
    assert!(issuer.drop_signing().is_err(), "there is nothing to sign with instead");
    issuer.apply(issuer.rotate().unwrap()).unwrap();
    issuer.apply(issuer.drop_signing().unwrap()).unwrap();
    assert!(verified(&issuer, &stolen).is_none());
    assert!(verified(&issuer, &issuer.mint(&asked(&[])).unwrap()).is_some());
}

#[test]
fn p13_keys_are_the_same_after_a_restart_and_what_a_crash_left_is_no_obstacle() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.tended();
    let token = issuer.mint(&asked(&[])).unwrap();
    fs::write(stage.file().with_extension("json.new"), "half a fi").unwrap();
    let again = stage.issuer();
    assert_eq!(again.ring(), issuer.ring());
    assert!(again.due().unwrap().is_none());
    assert!(verified(&again, &token).is_some());
    again.apply(again.rotate().unwrap()).unwrap();
    assert_eq!(stage.issuer().ring(), again.ring());
}

#[test]
fn p9_the_file_is_the_daemons_alone_and_nothing_else_shows_a_key() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.issuer();
    let change = issuer.due().unwrap().unwrap();
    let shown = format!("{change:?} {} {issuer:?} {:?}", change.detail(&issuer), issuer.documents());
    issuer.apply(change).unwrap();
    assert_eq!(fs::metadata(stage.file()).unwrap().permissions().mode() & 0o7777, 0o600);
    let kept = fs::read_to_string(stage.file()).unwrap();
    let secret = kept.split("-----").nth(2).unwrap().replace("\\r", "").replace("\\n", "");
    for piece in secret.as_bytes().chunks(16) {
        assert!(!shown.contains(std::str::from_utf8(piece).unwrap()), "{shown}");
    }
    fs::set_permissions(stage.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let error = issuer.open().unwrap_err().to_string();
    assert!(error.contains("can be read by its group"), "{error}");
}

#[test]
fn a_file_that_is_not_as_it_was_written_is_refused_and_not_shown() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    drop(stage.tended());
    let good = fs::read_to_string(stage.file()).unwrap();
    let first = good.find("-----BEGIN PRIVATE KEY-----").unwrap();
    let marker = &good[first + 40..first + 60];
    let broken = [
        good.replace("\"format\":1", "\"format\":2"),
        good[..good.len() / 2].to_owned(),
        good.replacen("PRIVATE", "PUBLIC", 1),
        good.replace("\"format\"", "\"more\":1,\"format\""),
    ];
    for text in broken {
        assert_ne!(text, good);
        fs::write(stage.file(), &text).unwrap();
        let error = stage_open(&stage).unwrap_err().to_string();
        assert!(error.contains("federation-keys.json") && !error.contains(marker), "{error}");
    }
}

fn stage_open(stage: &Stage) -> Result<(), IssuerError> {
    let ground = Ground {
        state_dir: stage.directory.path().to_owned(),
        owners: Owners::root_and_self(),
        clock: stage.clock.clone(),
        ids: Arc::new(RandomIds),
    };
    Issuer::new("federation", &stage.settings, LONGEST_ASSERTION, ground)?.open()
}

#[test]
fn before_it_has_a_key_on_record_nothing_is_signed() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.issuer();
    assert_eq!(issuer.mint(&asked(&[])).unwrap_err().kind, ErrorKind::Config);
    let made = issuer.due().unwrap().unwrap();
    assert_eq!(issuer.mint(&asked(&[])).unwrap_err().kind, ErrorKind::Config, "it is made, and not on record");
    drop(made);
    tend(&issuer);
    assert!(issuer.mint(&asked(&[])).is_ok());
}

#[test]
fn two_changes_at_once_cannot_both_be_made() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.tended();
    let (one, other) = (issuer.rotate().unwrap(), issuer.rotate().unwrap());
    issuer.apply(one).unwrap();
    assert!(issuer.apply(other).unwrap_err().to_string().contains("changed meanwhile"));
}

#[test]
fn a_key_that_cannot_be_kept_is_not_used() {
    let stage = Stage::new(KeyAlgorithm::Es256);
    let issuer = stage.tended();
    let before = issuer.ring();
    // A directory in its place: no rename puts a file there.
    fs::remove_file(stage.file()).unwrap();
    fs::create_dir(stage.file()).unwrap();
    let change = issuer.rotate().unwrap();
    assert!(issuer.apply(change).unwrap_err().to_string().contains("cannot be written"));
    assert_eq!(issuer.ring(), before);
    assert!(issuer.mint(&asked(&[])).is_ok(), "the old one goes on");
}

#[test]
fn keys_from_files_sign_in_their_order_and_are_published_together() {
    let mut stage = Stage::new(KeyAlgorithm::Es256);
    let keys = [KeyAlgorithm::Es256, KeyAlgorithm::Rs256].map(|algorithm| PrivateKey::generate(algorithm).unwrap());
    stage.write_key("one.pem", &keys[0]);
    stage.write_key("two.pem", &keys[1]);
    let issuer = stage.tended();
    let signing = |issuer: &Issuer| issuer.ring().signing().unwrap().id.clone();
    assert_eq!((signing(&issuer), issuer.ring().keys().len()), (keys[0].id.clone(), 2));
    assert!(issuer.rotate().unwrap_err().to_string().contains("come from files"));
    let early = issuer.mint(&asked(&[])).unwrap();
    assert!(!fs::read_to_string(stage.file()).unwrap().contains("BEGIN"), "what is kept elsewhere is not kept here");

    // The second is put first, and the first is gone: its tokens verify for as long as they live.
    stage.settings.keys.remove(0);
    let issuer = stage.tended();
    assert_eq!((signing(&issuer), issuer.ring().keys().len()), (keys[1].id.clone(), 2));
    assert!(verified(&issuer, &early).is_some());
    stage.clock.advance(60 + 300);
    assert_eq!(tend(&issuer), ["issuer.key_retired"]);

    // Back to keys that are made here: the last one from a file cannot sign any more.
    stage.settings.keys.clear();
    let issuer = stage.tended();
    assert!(verified(&issuer, &issuer.mint(&asked(&[])).unwrap()).is_some());
    assert_ne!(signing(&issuer), keys[1].id);
}

#[test]
fn a_file_that_is_no_good_key_is_refused_by_name() {
    let mut stage = Stage::new(KeyAlgorithm::Es256);
    let path = stage.directory.path().join("key.pem");
    let refused = |stage: &Stage, words: &str| {
        let error = stage_open(stage).unwrap_err().to_string();
        assert!(error.contains("key.pem") && error.contains(words), "{error}");
    };
    stage.settings.keys = vec![path.clone()];
    refused(&stage, "cannot be opened");
    fs::write(&path, "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    refused(&stage, "PKCS#8");
    let good = PrivateKey::generate(KeyAlgorithm::Es256).unwrap();
    fs::write(&path, good.pem().expose()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&stage, "read by others");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    stage_open(&stage).unwrap();
    stage.settings.keys.push(path);
    refused(&stage, "another file");
}

/// The example of RFC 7638, section 3.1.
#[test]
fn an_id_is_the_thumbprint_of_the_public_key() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o\
             knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ\
             Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kE\
             gU8awapJzKnqDKgw";
    let key: Jwk = serde_json::from_value(json!({ "kty": "RSA", "n": n, "e": "AQAB" })).unwrap();
    let id = key.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
    let made = PrivateKey::generate(KeyAlgorithm::Es256).unwrap();
    let again: Jwk = serde_json::from_value(made.public.clone()).unwrap();
    assert_eq!(made.id, again.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap());
    assert_eq!(made.public["kid"], json!(made.id));
    assert_eq!(id, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}
