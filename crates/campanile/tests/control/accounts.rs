//! Accounts, policies, temporary keys, request rates and the audit log, as a configuration file sets them up.

use std::path::Path;

use axum::http::Request;
use campanile::sigv4::Credentials;
use campanile::{Running, config_file, serve};
use serde_json::Value;

use crate::common::{Answer, Client, TempDir, meeting_body, raw, signed_for};

const SECRET: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABC";

/// A configuration with two accounts; `more` goes to its head, `roles` to the first account.
pub(super) async fn start(directory: &TempDir, more: &str, roles: &str) -> Running {
    let user = |name: &str, key: u32, policy: &str| {
        format!(
            "[[account.user]]\nname = '{name}'\naccess-key-id = 'AKIAEXAMPLE{key:09}'\nsecret-access-key = '{SECRET}{key}'\n{policy}\n"
        )
    };
    let text = format!(
        "listen = '127.0.0.1:0'\nmedia = '127.0.0.1:0'\ndata-dir = 'data'\n{more}\n[[account]]\nid = '111122223333'\n{}{}{}{}{roles}\n\
         [[account]]\nid = '444455556666'\n{}",
        user("admin", 1, "policies = ['AdministratorAccess']"),
        user("app", 2, "policies = ['AmazonChimeSDK']"),
        user(
            "red",
            3,
            r#"policy = '''{"Version":"2012-10-17","Statement":[
                {"Effect":"Allow","Action":"chime:Create*","Resource":"*",
                 "Condition":{"StringEquals":{"aws:RequestTag/team":"red"},"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}}},
                {"Effect":"Allow","Action":["chime:*Meeting","chime:*Tag*","chime:*Attendee*"],"Resource":"*",
                 "Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}},
                {"Effect":"Deny","Action":"chime:DeleteMeeting","Resource":"arn:aws:chime::111122223333:meeting/*"}]}'''"#
        ),
        user("nobody", 4, r#"policy = '{"Statement":[]}'"#),
        user("admin", 5, "policies = ['AdministratorAccess']"),
    );
    serve(config_file::parse(&text, directory.path()).unwrap()).await.unwrap()
}

pub(super) fn client(running: &Running, key: u32) -> Client {
    let credentials = Credentials {
        access_key_id: format!("AKIAEXAMPLE{key:09}"),
        secret_access_key: format!("{SECRET}{key}"),
        session_token: None,
    };
    Client { address: running.state.site.listen, credentials }
}

fn audit(directory: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for file in std::fs::read_dir(directory.join("data")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("audit-") {
            let text = std::fs::read_to_string(file.path()).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
    }
    lines
}

#[tokio::test]
async fn accounts_see_nothing_of_each_other() {
    let directory = TempDir::new();
    let running = start(&directory, "[quotas]\nmeetings = 2", "").await;
    let (ours, theirs) = (client(&running, 1), client(&running, 5));
    let id = ours.create_meeting("tok").await;
    let other = theirs.create_meeting("tok").await;
    assert_ne!(id, other);
    let ann = ours.create_attendee(&id, "ann").await["AttendeeId"].as_str().unwrap().to_owned();
    for (method, path, body) in [
        ("GET", format!("/meetings/{id}"), ""),
        ("DELETE", format!("/meetings/{id}"), ""),
        ("GET", format!("/meetings/{id}/attendees"), ""),
        ("GET", format!("/meetings/{id}/attendees/{ann}"), ""),
        ("GET", format!("/meetings/{other}/attendees/{ann}"), ""),
        ("DELETE", format!("/meetings/{id}/attendees/{ann}"), ""),
        ("POST", format!("/meetings/{id}/attendees"), r#"{"ExternalUserId":"eve"}"#),
        (
            "POST",
            format!("/meetings/{id}/attendees?operation=batch-create"),
            r#"{"Attendees":[{"ExternalUserId":"eve"}]}"#,
        ),
        (
            "PUT",
            format!("/meetings/{id}/attendees/{ann}/capabilities"),
            r#"{"Capabilities":{"Audio":"None","Video":"None","Content":"None"}}"#,
        ),
        ("POST", format!("/meetings/{id}/transcription?operation=stop"), ""),
        ("POST", format!("/campanile/v1/meetings/{id}/lock"), ""),
        ("DELETE", format!("/campanile/v1/meetings/{id}/lock"), ""),
        ("POST", format!("/campanile/v1/meetings/{id}/attendees/{ann}/mute"), ""),
        ("POST", format!("/campanile/v1/meetings/{id}/attendees/{ann}/remove"), ""),
        (
            "PUT",
            format!("/campanile/v1/meetings/{id}/attendees/{ann}/unmute-permission"),
            r#"{"CanUnmute":false}"#,
        ),
    ] {
        theirs.call(method, &path, body).await.error(404, "NotFoundException");
    }
    let arn = format!("arn%3Aaws%3Achime%3Aus-east-1%3A111122223333%3Ameeting%2F{id}");
    theirs.call("GET", &format!("/tags?arn={arn}"), "").await.error(404, "ResourceNotFoundException");
    let replica = format!(r#","PrimaryMeetingId":"{id}""#);
    theirs.call("POST", "/meetings", &meeting_body("rep", &replica)).await.error(400, "BadRequestException");
    // Neither is a quota shared.
    ours.create_meeting("two").await;
    ours.call("POST", "/meetings", &meeting_body("three", "")).await.error(400, "LimitExceededException");
    theirs.create_meeting("two").await;
    running.stop().await;
}

#[tokio::test]
async fn policies_decide_and_the_audit_log_tells() {
    let directory = TempDir::new();
    let running = start(&directory, "", "").await;
    let (admin, app, red, nobody) =
        (client(&running, 1), client(&running, 2), client(&running, 3), client(&running, 4));
    let message =
        nobody.call("POST", "/meetings", &meeting_body("tok", "")).await.error(403, "ForbiddenException");
    assert!(message.contains("arn:aws:iam::111122223333:user/nobody"), "{message}");
    assert!(message.contains("chime:CreateMeeting"), "{message}");

    let id = app.create_meeting("app").await;
    let ann = app.create_attendee(&id, "ann").await["AttendeeId"].as_str().unwrap().to_owned();
    let capabilities = format!("/meetings/{id}/attendees/{ann}/capabilities");
    let none = r#"{"Capabilities":{"Audio":"None","Video":"None","Content":"None"}}"#;
    // As with AWS, the managed policy does not hold this operation.
    app.call("PUT", &capabilities, none).await.error(403, "ForbiddenException");
    admin.call("PUT", &capabilities, none).await.ok();
    // Nor any extension: their actions are called otherwise.
    let lock = format!("/campanile/v1/meetings/{id}/lock");
    let message = app.call("POST", &lock, "").await.error(403, "ForbiddenException");
    assert!(message.contains("campanile:LockMeeting"), "{message}");
    admin.call("POST", &lock, "").await.ok();
    admin.call("DELETE", &lock, "").await.ok();

    let tags = |tags: &str| format!(r#","Tags":[{tags}]"#);
    let team = r#"{"Key":"team","Value":"red"}"#;
    let refused = |tags: String| {
        let red = &red;
        async move {
            red.call("POST", "/meetings", &meeting_body("red", &tags)).await.error(403, "ForbiddenException")
        }
    };
    refused(String::new()).await;
    refused(tags(r#"{"Key":"team","Value":"blue"}"#)).await;
    refused(tags(&format!(r#"{team},{{"Key":"more","Value":"x"}}"#))).await;
    let made = red.call("POST", "/meetings", &meeting_body("red", &tags(team))).await.ok();
    let red_id = made["Meeting"]["MeetingId"].as_str().unwrap();
    red.call("GET", &format!("/meetings/{red_id}"), "").await.ok();
    red.call("GET", &format!("/meetings/{id}"), "").await.error(403, "ForbiddenException");
    let denied =
        red.call("DELETE", &format!("/meetings/{red_id}"), "").await.error(403, "ForbiddenException");
    assert!(denied.contains("explicit deny"), "{denied}");
    let arn = made["Meeting"]["MeetingArn"].as_str().unwrap();
    red.call(
        "POST",
        "/tags?operation=tag-resource",
        &format!(r#"{{"ResourceARN":"{arn}","Tags":[{team}]}}"#),
    )
    .await;
    running.stop().await;

    let lines = audit(directory.path());
    let found = |principal: &str, action: &str, allowed: bool| {
        lines.iter().find(|line| {
            line["principal"].as_str().unwrap().ends_with(principal)
                && line["action"] == format!("chime:{action}")
                && line["allowed"] == allowed
        })
    };
    let denied = found("user/nobody", "CreateMeeting", false).expect("denied calls are in it");
    assert_eq!(denied["resource"], "arn:aws:chime:us-east-1:111122223333:meeting/*");
    assert_eq!(
        (denied["account"].as_str(), denied["source"].as_str()),
        (Some("111122223333"), Some("127.0.0.1"))
    );
    let allowed = found("user/admin", "UpdateAttendeeCapabilities", true).expect("allowed calls are in it");
    assert_eq!(allowed["resource"], format!("arn:aws:chime:us-east-1:111122223333:meeting/{id}"));
    assert_eq!(allowed["accessKeyId"], "AKIAEXAMPLE000000001");
    assert_eq!(allowed["requestId"].as_str().unwrap().len(), 36);
    assert!(found("user/red", "DeleteMeeting", false).is_some());
    assert!(found("user/red", "TagResource", true).is_some());
    assert!(lines.iter().all(|line| !line.to_string().contains(SECRET)));
}

#[tokio::test]
async fn the_twenty_first_call_of_a_burst_is_throttled() {
    let directory = TempDir::new();
    // So slow a rate that no test machine is slow enough to see the bucket fill.
    let running = start(&directory, "[quotas]\nrequests-per-second = 0.001", "").await;
    let (ours, theirs) = (client(&running, 1), client(&running, 5));
    let path = format!("/meetings/{}", uuid::Uuid::nil());
    for _ in 0..20 {
        ours.call("GET", &path, "").await.error(404, "NotFoundException");
    }
    let throttled = ours.call("GET", &path, "").await;
    throttled.error(429, "ThrottlingException");
    assert!(throttled.headers["retry-after"].parse::<u64>().unwrap() > 900);
    client(&running, 2).call("GET", &path, "").await.error(429, "ThrottlingException");
    ours.call("GET", &format!("{path}/attendees"), "").await.error(404, "NotFoundException");
    theirs.call("GET", &path, "").await.error(404, "NotFoundException");
    let mut stranger = client(&running, 5);
    stranger.credentials.secret_access_key.push('x');
    for _ in 0..30 {
        stranger.call("GET", &path, "").await.error(403, "InvalidSignatureException");
    }
    theirs.call("GET", &path, "").await.error(404, "NotFoundException");
    running.stop().await;
}

const ROLES: &str = r#"
[[account.role]]
name = "meetings"
policies = ["AmazonChimeSDK"]
trust = '''{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":[
    "arn:aws:iam::111122223333:user/nobody","444455556666"]}}}'''
[[account.role]]
name = "closed"
policies = ["AdministratorAccess"]
trust = '''{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"111122223333"}}}'''
"#;

async fn sts(client: &Client, form: &str) -> Answer {
    let head = Request::post("/")
        .header("host", client.address.to_string())
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    raw(client.address, &signed_for("sts", &client.credentials, head, form)).await
}

/// The text of an XML element.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once('<').unwrap().0
}

async fn assume(client: &Client, role: &str, more: &str) -> Result<Client, String> {
    let form = format!(
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2F{role}&RoleSessionName=web{more}"
    );
    let answer = sts(client, &form).await;
    assert_eq!(answer.headers["content-type"], "text/xml");
    if answer.status != 200 {
        return Err(element(&answer.text, "Code").to_owned());
    }
    let text = |name: &str| element(&answer.text, name).to_owned();
    let credentials = Credentials {
        access_key_id: text("AccessKeyId"),
        secret_access_key: text("SecretAccessKey"),
        session_token: Some(text("SessionToken")),
    };
    Ok(Client { address: client.address, credentials })
}

#[tokio::test]
async fn assumed_roles_get_temporary_keys_within_their_policy() {
    let directory = TempDir::new();
    let running = start(&directory, "", ROLES).await;
    let (admin, nobody, foreign) = (client(&running, 1), client(&running, 4), client(&running, 5));
    let identity = sts(&nobody, "Action=GetCallerIdentity&Version=2011-06-15").await;
    assert_eq!(element(&identity.text, "Arn"), "arn:aws:iam::111122223333:user/nobody");

    // Trusted by name: its own policies need not allow it.
    let temporary = assume(&nobody, "meetings", "").await.unwrap();
    assert!(temporary.credentials.access_key_id.starts_with("ASIA"));
    let id = temporary.create_meeting("tok").await;
    let identity = sts(&temporary, "Action=GetCallerIdentity").await;
    assert_eq!(element(&identity.text, "Arn"), "arn:aws:sts::111122223333:assumed-role/meetings/web");
    let except = format!("/meetings/{id}/attendees/capabilities?operation=batch-update-except");
    let body = format!(
        r#"{{"ExcludedAttendeeIds":[{{"AttendeeId":"{}"}}],"Capabilities":{{"Audio":"None","Video":"None","Content":"None"}}}}"#,
        uuid::Uuid::nil()
    );
    let message = temporary.call("PUT", &except, &body).await.error(403, "ForbiddenException");
    assert!(message.contains("assumed-role/meetings/web"), "{message}");
    // From another account that is trusted, and whose administrator may do anything.
    let visitor = assume(&foreign, "meetings", "&DurationSeconds=900").await.unwrap();
    visitor.call("GET", &format!("/meetings/{id}"), "").await.ok();

    let readers = "&Policy=%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22chime%3AGet*%22%2C\
                   %22Resource%22%3A%22*%22%7D%7D";
    let reader = assume(&nobody, "meetings", readers).await.unwrap();
    reader.call("GET", &format!("/meetings/{id}"), "").await.ok();
    reader.call("DELETE", &format!("/meetings/{id}"), "").await.error(403, "ForbiddenException");

    let refused = |client, role, more| async move { assume(client, role, more).await.err().unwrap() };
    assert_eq!(refused(&nobody, "closed", "").await, "AccessDenied", "the account is trusted, not the user");
    assert!(assume(&admin, "closed", "").await.is_ok());
    assert_eq!(refused(&foreign, "closed", "").await, "AccessDenied");
    assert_eq!(refused(&admin, "nowhere", "").await, "AccessDenied");
    assert_eq!(
        refused(&admin, "meetings", "").await,
        "AccessDenied",
        "an administrator is not trusted for that"
    );
    assert_eq!(refused(&nobody, "meetings", "&DurationSeconds=899").await, "ValidationError");
    assert_eq!(refused(&nobody, "meetings", "&DurationSeconds=3601").await, "ValidationError");
    assert_eq!(refused(&nobody, "meetings", "&Policy=nonsense").await, "MalformedPolicyDocument");
    assert_eq!(refused(&nobody, "meetings", "&ExternalId=x").await, "ValidationError");
    let mut thief = client(&running, 4);
    thief.credentials.secret_access_key.push('x');
    assert_eq!(refused(&thief, "meetings", "").await, "SignatureDoesNotMatch");

    // A session token with another's key, without its own, or changed.
    let mut forged = client(&running, 1);
    forged.credentials.session_token = temporary.credentials.session_token.clone();
    forged.call("GET", &format!("/meetings/{id}"), "").await.error(403, "UnrecognizedClientException");
    let mut bare = assume(&nobody, "meetings", "").await.unwrap();
    bare.credentials.session_token = None;
    bare.call("GET", &format!("/meetings/{id}"), "").await.error(403, "UnrecognizedClientException");
    running.stop().await;

    // Temporary keys outlive a restart, and end with their role.
    let running = start(&directory, "", ROLES).await;
    let again = Client { address: running.state.site.listen, credentials: temporary.credentials };
    again.call("GET", &format!("/meetings/{id}"), "").await.ok();
    running.stop().await;
    let lines = audit(directory.path());
    assert!(lines.iter().any(|line| line["action"] == "sts:AssumeRole" && line["allowed"] == true));
    assert!(lines.iter().any(|line| line["action"] == "sts:AssumeRole" && line["allowed"] == false));
    let running = start(&directory, "", "").await;
    let again = Client { address: running.state.site.listen, credentials: again.credentials };
    again.call("GET", &format!("/meetings/{id}"), "").await.error(403, "UnrecognizedClientException");
    running.stop().await;
}

#[tokio::test]
async fn a_configured_server_has_no_demo_and_shows_no_secrets() {
    let directory = TempDir::new();
    let running = start(&directory, "", "").await;
    let client = client(&running, 1);
    assert!(running.ready.access_key_id.is_none() && running.ready.secret_access_key.is_none());
    let demo = client.demo("join", r#"{"meeting":"Stand-up","name":"Ann"}"#).await;
    demo.error(404, "UnknownOperationException");
    client.get_unsigned("/").await.error(404, "UnknownOperationException");
    running.stop().await;
}

#[tokio::test]
async fn events_stay_with_their_account_and_take_an_action_of_their_own() {
    let directory = TempDir::new();
    let running = start(&directory, "", "").await;
    let (admin, app, other) = (client(&running, 1), client(&running, 2), client(&running, 5));
    let ours = app.create_meeting("tok").await;
    let theirs = other.create_meeting("tok").await;
    app.call("GET", "/campanile/v1/events", "").await.error(403, "ForbiddenException");
    for (client, meeting, not) in [(&admin, &ours, &theirs), (&other, &theirs, &ours)] {
        let told = crate::events::events(client, "").await;
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].0, told[0].1["detail"]["meetingId"].as_str()), (1, Some(meeting.as_str())));
        assert!(crate::events::events(client, &format!("meeting-id={not}")).await.is_empty());
    }
    running.stop().await;
}
