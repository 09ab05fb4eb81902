use super::*;

const MEETING: &str = "0f6d2c58-31b7-4e0a-9d14-7c2a55e90001";

fn question<'a>(
    action: &'a str,
    resource_tags: &[(&str, &str)],
    request_tags: &[(&str, &str)],
) -> Question<'a> {
    let owned = |tags: &[(&str, &str)]| tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Question {
        action,
        resources: vec![
            format!("arn:aws:chime:us-east-1:111122223333:meeting/{MEETING}"),
            format!("arn:aws:chime::111122223333:meeting/{MEETING}"),
        ],
        resource_tags: owned(resource_tags),
        request_tags: owned(request_tags),
        principal_arn: "arn:aws:iam::111122223333:user/ann",
        account: "111122223333".into(),
        region: "us-east-1",
    }
}

/// A question to one statement with these members beside its effect.
fn ask(statement: &str, question: &Question<'_>) -> Decision {
    let policy = Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{{{statement}}}]}}"#));
    decide([&policy.unwrap_or_else(|error| panic!("{statement}: {error}"))], question)
}

#[test]
fn actions_match_without_regard_to_case_and_with_wildcards() {
    let check = |actions: &str, allowed: bool| {
        let statement = format!(r#""Effect":"Allow","Resource":"*",{actions}"#);
        let expected = if allowed { Decision::Allowed } else { Decision::NotAllowed };
        assert_eq!(ask(&statement, &question("chime:GetMeeting", &[], &[])), expected, "{actions}");
    };
    check(r#""Action":"chime:GetMeeting""#, true);
    check(r#""Action":"CHIME:getmeeting""#, true);
    check(r#""Action":["chime:DeleteMeeting","chime:Get*"]"#, true);
    check(r#""Action":"chime:Get?eeting""#, true);
    check(r#""Action":"*""#, true);
    check(r#""Action":"chime:*Meeting""#, true);
    check(r#""Action":"chime:*Attendee""#, false);
    check(r#""Action":"chime:GetMeetingX""#, false);
    check(r#""Action":[]"#, false);
    check(r#""NotAction":"chime:Delete*""#, true);
    check(r#""NotAction":"chime:Get*""#, false);
}

#[test]
fn resources_match_with_and_without_their_region() {
    let check = |resource: &str, allowed: bool| {
        let statement = format!(r#""Effect":"Allow","Action":"*","Resource":{resource}"#);
        let expected = if allowed { Decision::Allowed } else { Decision::NotAllowed };
        assert_eq!(ask(&statement, &question("chime:GetMeeting", &[], &[])), expected, "{resource}");
    };
    check(&format!(r#""arn:aws:chime::111122223333:meeting/{MEETING}""#), true);
    check(&format!(r#""arn:aws:chime:us-east-1:111122223333:meeting/{MEETING}""#), true);
    check(r#""arn:aws:chime:*:111122223333:meeting/*""#, true);
    check(r#""arn:aws:chime::111122223333:meeting/*""#, true);
    check(r#""arn:aws:chime::111122223333:*""#, true);
    check(r#""arn:aws:chime::444455556666:meeting/*""#, false);
    check(r#""arn:aws:chime:eu-central-1:111122223333:meeting/*""#, false);
    check(r#""arn:aws:s3:::bucket""#, false);
    check(r#"["arn:aws:s3:::bucket","*"]"#, true);
}

#[test]
fn a_denial_outweighs_every_permission() {
    let both = Policy::parse(
        r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
                         {"Effect":"Deny","Action":"chime:Delete*","Resource":"*"}]}"#,
    )
    .unwrap();
    let administrator = Policy::managed("AdministratorAccess").unwrap();
    let check = |action: &str, expected: Decision| {
        assert_eq!(decide([&both, &administrator], &question(action, &[], &[])), expected);
        assert_eq!(decide([&administrator, &both], &question(action, &[], &[])), expected);
    };
    check("chime:GetMeeting", Decision::Allowed);
    check("chime:DeleteMeeting", Decision::ExplicitlyDenied);
    assert_eq!(decide([], &question("chime:GetMeeting", &[], &[])), Decision::NotAllowed);
}

#[test]
fn conditions_on_tags_are_evaluated() {
    let check = |condition: &str, resource: &[(&str, &str)], request: &[(&str, &str)], allowed: bool| {
        let statement =
            format!(r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{{{condition}}}"#);
        let expected = if allowed { Decision::Allowed } else { Decision::NotAllowed };
        assert_eq!(
            ask(&statement, &question("chime:TagResource", resource, request)),
            expected,
            "{condition}"
        );
    };
    let red = r#""StringEquals":{"aws:ResourceTag/team":"red"}"#;
    check(red, &[("team", "red")], &[], true);
    check(red, &[("team", "Red")], &[], false);
    check(red, &[("team", "blue")], &[], false);
    check(red, &[], &[], false);
    check(red, &[], &[("team", "red")], false);
    check(r#""StringEquals":{"AWS:resourcetag/Team":["blue","red"]}"#, &[("team", "red")], &[], true);
    check(r#""StringEqualsIgnoreCase":{"aws:ResourceTag/team":"RED"}"#, &[("team", "red")], &[], true);
    check(r#""StringLike":{"aws:RequestTag/cost":"c-*"}"#, &[], &[("cost", "c-1")], true);
    check(r#""StringLike":{"aws:RequestTag/cost":"c-*"}"#, &[], &[("cost", "d-1")], false);
    check(r#""StringNotEquals":{"aws:ResourceTag/team":"red"}"#, &[("team", "blue")], &[], true);
    check(r#""StringNotEquals":{"aws:ResourceTag/team":"red"}"#, &[("team", "red")], &[], false);
    check(r#""StringNotEquals":{"aws:ResourceTag/team":"red"}"#, &[], &[], true);
    check(r#""StringEqualsIfExists":{"aws:ResourceTag/team":"red"}"#, &[], &[], true);
    check(r#""Null":{"aws:ResourceTag/team":"true"}"#, &[], &[], true);
    check(r#""Null":{"aws:ResourceTag/team":true}"#, &[("team", "red")], &[], false);
    check(r#""Null":{"aws:ResourceTag/team":"false"}"#, &[("team", "red")], &[], true);
    let only = r#""ForAllValues:StringEquals":{"aws:TagKeys":["team","cost"]}"#;
    check(only, &[], &[("team", "x"), ("cost", "y")], true);
    check(only, &[], &[("team", "x"), ("other", "y")], false);
    check(only, &[], &[], true);
    let some = r#""ForAnyValue:StringEquals":{"aws:TagKeys":"team"}"#;
    check(some, &[], &[("team", "x"), ("other", "y")], true);
    check(some, &[], &[("other", "y")], false);
    check(some, &[], &[], false);
    // All of several conditions.
    check(&format!("{red},{only}"), &[("team", "red")], &[("cost", "1")], true);
    check(&format!("{red},{only}"), &[("team", "red")], &[("else", "1")], false);
    check(
        r#""StringEquals":{"aws:PrincipalAccount":"111122223333","aws:RequestedRegion":"us-east-1"}"#,
        &[],
        &[],
        true,
    );
    check(r#""ArnLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/*"}"#, &[], &[], true);
}

#[test]
fn what_cannot_be_known_never_grants_and_always_denies() {
    for condition in [
        r#""StringEquals":{"aws:Unheard":"of"}"#,
        r#""StringNotEquals":{"aws:Unheard":"of"}"#,
        r#""StringEqualsIfExists":{"aws:Unheard":"of"}"#,
        r#""Null":{"aws:MultiFactorAuthPresent":"true"}"#,
        r#""ForAllValues:StringEquals":{"aws:Unheard":"of"}"#,
        r#""IpAddress":{"aws:SourceIp":"0.0.0.0/0"}"#,
        r#""Invented":{"aws:ResourceTag/team":"red"}"#,
        r#""ForEveryValue:StringEquals":{"aws:ResourceTag/team":"red"}"#,
    ] {
        let asked = question("chime:GetMeeting", &[("team", "red")], &[]);
        let members = format!(r#""Action":"*","Resource":"*","Condition":{{{condition}}}"#);
        assert_eq!(
            ask(&format!(r#""Effect":"Allow",{members}"#), &asked),
            Decision::NotAllowed,
            "{condition}"
        );
        assert_eq!(
            ask(&format!(r#""Effect":"Deny",{members}"#), &asked),
            Decision::ExplicitlyDenied,
            "{condition}"
        );
    }
}

#[test]
fn what_would_be_misread_is_refused() {
    let check = |statement: &str| {
        let outcome = Policy::parse(&format!(r#"{{"Statement":{statement}}}"#));
        assert!(outcome.is_err(), "{statement}: {outcome:?}");
    };
    check(r#"{"Effect":"Allow","Action":"*"}"#);
    check(r#"{"Effect":"Allow","Resource":"*"}"#);
    check(r#"{"Effect":"Maybe","Action":"*","Resource":"*"}"#);
    check(r#"{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}"#);
    check(r#"{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}"#);
    check(r#"{"Effect":"Allow","Action":"*","Resource":"*","Unheard":"of"}"#);
    check(r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:chime:::meeting/${aws:username}"}"#);
    check(r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":"x"}}"#);
    check(r#"{"Effect":"Allow","Action":[1,{}],"Resource":"*"}"#);
    check(r#""everything""#);
    assert!(Policy::parse("no JSON").is_err());
    assert!(Policy::parse(r#"{"Statement":[],"Unheard":"of"}"#).is_err());
    assert!(Policy::parse(r#"{"Version":"2012-10-17","Id":"x","Statement":[]}"#).is_ok());
}

#[test]
fn the_managed_policy_is_amazons() {
    let managed = Policy::managed("arn:aws:iam::aws:policy/AmazonChimeSDK").unwrap();
    let check = |action: &str, expected| {
        assert_eq!(decide([&managed], &question(action, &[], &[])), expected, "{action}");
    };
    check("chime:CreateMeetingWithAttendees", Decision::Allowed);
    check("chime:StopMeetingTranscription", Decision::Allowed);
    check("chime:UpdateAttendeeCapabilities", Decision::NotAllowed);
    check("chime:BatchUpdateAttendeeCapabilitiesExcept", Decision::NotAllowed);
    check("sts:AssumeRole", Decision::NotAllowed);
    assert_eq!(Policy::managed("AmazonChimeSDK"), Some(managed));
    assert_eq!(Policy::managed("NoSuchPolicy"), None);
}

#[test]
fn trust_names_principals_or_their_account() {
    let check = |principal: &str, trusted: bool, by_name: bool| {
        let text = format!(
            r#"{{"Statement":{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{principal}}}}}"#
        );
        let policy = Policy::parse_trust(&text).unwrap();
        let asked = question("sts:AssumeRole", &[], &[]);
        assert_eq!(decide([&policy], &asked) == Decision::Allowed, trusted, "{principal}");
        assert_eq!(policy.trusts_by_name(&asked), by_name, "{principal}");
    };
    check(r#""*""#, true, false);
    check(r#"{"AWS":"111122223333"}"#, true, false);
    check(r#"{"AWS":["arn:aws:iam::111122223333:root"]}"#, true, false);
    check(r#"{"AWS":["x","arn:aws:iam::111122223333:user/ann"]}"#, true, true);
    check(r#"{"AWS":"arn:aws:iam::111122223333:user/an"}"#, false, false);
    check(r#"{"AWS":"arn:aws:iam::111122223333:user/*"}"#, false, false);
    for wrong in [r#"{"Service":"x"}"#, "1", r#"{"AWS":"x","Service":"y"}"#] {
        let text = format!(r#"{{"Statement":{{"Effect":"Allow","Action":"*","Principal":{wrong}}}}}"#);
        assert!(Policy::parse_trust(&text).is_err(), "{wrong}");
    }
}

#[test]
fn wildcards_do_not_take_exponential_time() {
    assert!(!glob(&"*a".repeat(200), &"a".repeat(199)));
    assert!(glob(&"*a".repeat(200), &"a".repeat(400)));
    assert!(glob("", "") && !glob("", "a") && glob("**", "") && glob("a*b?c", "axxbyc"));
}
