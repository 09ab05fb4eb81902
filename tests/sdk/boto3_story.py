"""The whole life of a meeting through unmodified boto3, against a running Campanile.

    python boto3_story.py --endpoint URL --access-key ID --secret-key SECRET [--region REGION] [--role ARN]

Prints one line for each check and exits with 1 if any failed.
"""

import argparse
import sys
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

failures = 0


def check(what, passed, detail=""):
    global failures
    print(f"{'ok  ' if passed else 'FAIL'} {what}{'' if passed else f': {detail}'}", flush=True)
    failures += not passed


def check_error(what, client, kind, status, call):
    """The call fails with this exception; a modelled one is caught by its own class, as applications do."""
    try:
        answer = call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        metadata = error.response["ResponseMetadata"]
        typed = getattr(client.exceptions, kind, ClientError)
        check(
            what,
            isinstance(error, typed) and code == kind and metadata["HTTPStatusCode"] == status
            and len(metadata.get("RequestId", "")) == 36 and metadata["RetryAttempts"] == 0,
            repr(error.response),
        )
        return
    check(what, False, f"no error but {answer!r}")


def story(arguments):
    def client_with(secret):
        return boto3.client(
            "chime-sdk-meetings",
            endpoint_url=arguments.endpoint,
            region_name=arguments.region,
            aws_access_key_id=arguments.access_key,
            aws_secret_access_key=secret,
            config=Config(connect_timeout=5, read_timeout=10),
        )

    client = client_with(arguments.secret_key)
    token = str(uuid.uuid4())
    request = dict(
        ClientRequestToken=token,
        MediaRegion="eu-central-1",
        ExternalMeetingId="réunion « été »",
        MeetingFeatures={"Attendee": {"MaxCount": 9}, "Audio": {"EchoReduction": "AVAILABLE"}},
        Tags=[{"Key": "team", "Value": "a b"}],
    )
    meeting = client.create_meeting(**request)["Meeting"]
    meeting_id = meeting["MeetingId"]
    check("create_meeting echoes what it was given",
          (meeting["ExternalMeetingId"], meeting["MediaRegion"], meeting["MeetingFeatures"])
          == (request["ExternalMeetingId"], request["MediaRegion"], request["MeetingFeatures"]), meeting)
    check("MeetingId has the form of a UUID", str(uuid.UUID(meeting_id)) == meeting_id, meeting_id)
    check("MeetingArn names the meeting",
          meeting["MeetingArn"].startswith(f"arn:aws:chime:{arguments.region}:")
          and meeting["MeetingArn"].endswith(f":meeting/{meeting_id}"), meeting["MeetingArn"])
    placement = meeting["MediaPlacement"]
    check("SignalingUrl is a WebSocket without a query",
          placement["SignalingUrl"].startswith(("ws://", "wss://"))
          and placement["SignalingUrl"].endswith(f"/control/{meeting_id}"), placement)
    check("AudioHostUrl is host:port",
          "//" not in placement["AudioHostUrl"] and placement["AudioHostUrl"].rpartition(":")[2].isdigit(), placement)
    check("clients' telemetry stays here",
          placement["EventIngestionUrl"].startswith(arguments.endpoint.rstrip("/") + "/"), placement)
    check("a retry finds the same meeting", client.create_meeting(**request)["Meeting"] == meeting)
    other = dict(request, ClientRequestToken=str(uuid.uuid4()))
    other_id = client.create_meeting(**other)["Meeting"]["MeetingId"]
    check("another token makes another meeting", other_id != meeting_id)
    check("get_meeting finds it", client.get_meeting(MeetingId=meeting_id)["Meeting"] == meeting)

    capabilities = {"Audio": "SendReceive", "Video": "Receive", "Content": "None"}
    user = "usér « ü»"
    attendee = client.create_attendee(MeetingId=meeting_id, ExternalUserId=user, Capabilities=capabilities)["Attendee"]
    check("create_attendee keeps name and capabilities",
          (attendee["ExternalUserId"], attendee["Capabilities"]) == (user, capabilities), attendee)
    check("JoinToken suits a WebSocket subprotocol and a SIP URI",
          attendee["JoinToken"].isascii() and attendee["JoinToken"].isalnum(), attendee["JoinToken"])
    check("the same ExternalUserId is the same attendee",
          client.create_attendee(MeetingId=meeting_id, ExternalUserId=user)["Attendee"] == attendee)
    check("get_attendee finds it",
          client.get_attendee(MeetingId=meeting_id, AttendeeId=attendee["AttendeeId"])["Attendee"] == attendee)
    batch = client.batch_create_attendee(
        MeetingId=meeting_id,
        Attendees=[{"ExternalUserId": f"person {n}"} for n in range(6)] + [{"ExternalUserId": "aws:reserved"}],
    )
    check("batch_create_attendee makes six and reports one",
          (len(batch["Attendees"]), [error["ExternalUserId"] for error in batch["Errors"]]) == (6, ["aws:reserved"]), batch)

    listed, pages, page = [], 0, {}
    while pages == 0 or "NextToken" in page:
        more = {"NextToken": page["NextToken"]} if pages else {}
        page = client.list_attendees(MeetingId=meeting_id, MaxResults=3, **more)
        listed += page["Attendees"]
        pages += 1
    expected = [attendee] + batch["Attendees"]
    key = lambda one: one["AttendeeId"]  # noqa: E731
    check("list_attendees shows each once, in pages of three",
          pages == 3 and sorted(listed, key=key) == sorted(expected, key=key), (pages, listed))

    with_attendees = client.create_meeting_with_attendees(
        MediaRegion="us-east-1",
        ExternalMeetingId="with attendees",
        MeetingFeatures={"Video": {"MaxResolution": "None"}},
        Attendees=[{"ExternalUserId": "ann"}, {"ExternalUserId": "bob", "Capabilities": capabilities}],
    )
    check("create_meeting_with_attendees applies the meeting's features",
          [one["Capabilities"] for one in with_attendees["Attendees"]]
          == [{"Audio": "SendReceive", "Video": "Receive", "Content": "SendReceive"}]
          and with_attendees["Errors"][0]["ExternalUserId"] == "bob", with_attendees)

    nobody = str(uuid.UUID(int=0))
    check_error("an unknown meeting is NotFound", client, "NotFoundException", 404,
                lambda: client.get_meeting(MeetingId=nobody))
    check_error("an unknown attendee is NotFound", client, "NotFoundException", 404,
                lambda: client.get_attendee(MeetingId=meeting_id, AttendeeId=nobody))
    check_error("an attendee of another meeting is NotFound", client, "NotFoundException", 404,
                lambda: client.get_attendee(MeetingId=other_id, AttendeeId=attendee["AttendeeId"]))
    check_error("a malformed id is BadRequest", client, "BadRequestException", 400,
                lambda: client.get_meeting(MeetingId="has/slash and?q"))
    check_error("an unknown region is BadRequest", client, "BadRequestException", 400,
                lambda: client.create_meeting(MediaRegion="nowhere-1", ExternalMeetingId="xx"))
    check_error("a reserved prefix is BadRequest", client, "BadRequestException", 400,
                lambda: client.create_attendee(MeetingId=meeting_id, ExternalUserId="AWS:x"))
    check_error("content without video is BadRequest", client, "BadRequestException", 400,
                lambda: client.create_attendee(MeetingId=meeting_id, ExternalUserId="xx", Capabilities={
                    "Audio": "None", "Video": "None", "Content": "Receive"}))
    check_error("a page of 101 is BadRequest", client, "BadRequestException", 400,
                lambda: client.list_attendees(MeetingId=meeting_id, MaxResults=101))
    check_error("101 attendees at once are BadRequest", client, "BadRequestException", 400,
                lambda: client.batch_create_attendee(MeetingId=meeting_id, Attendees=[{"ExternalUserId": "xx"}] * 101))
    check_error("a wrong secret is refused", client, "InvalidSignatureException", 403,
                lambda: client_with(arguments.secret_key + "x").get_meeting(MeetingId=meeting_id))

    listener = {"Audio": "Receive", "Video": "Receive", "Content": "Receive"}
    updated = client.update_attendee_capabilities(
        MeetingId=meeting_id, AttendeeId=attendee["AttendeeId"], Capabilities=listener)["Attendee"]
    check("update_attendee_capabilities replaces all three",
          updated == dict(attendee, Capabilities=listener), updated)
    client.batch_update_attendee_capabilities_except(
        MeetingId=meeting_id, ExcludedAttendeeIds=[{"AttendeeId": attendee["AttendeeId"]}], Capabilities=capabilities)
    after = client.list_attendees(MeetingId=meeting_id)["Attendees"]
    check("batch_update_attendee_capabilities_except leaves out who is excluded",
          all(one["Capabilities"] == (listener if one["AttendeeId"] == attendee["AttendeeId"] else capabilities)
              for one in after) and len(after) == 7, after)
    check_error("capabilities beyond the rules are BadRequest", client, "BadRequestException", 400,
                lambda: client.update_attendee_capabilities(
                    MeetingId=meeting_id, AttendeeId=attendee["AttendeeId"],
                    Capabilities={"Audio": "None", "Video": "None", "Content": "Receive"}))
    check_error("capabilities of nobody are NotFound", client, "NotFoundException", 404,
                lambda: client.update_attendee_capabilities(
                    MeetingId=meeting_id, AttendeeId=nobody, Capabilities=listener))

    arn = meeting["MeetingArn"]
    client.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "c"}, {"Key": "more", "Value": ""}])
    client.untag_resource(ResourceARN=arn, TagKeys=["more", "never-was"])
    tags = client.list_tags_for_resource(ResourceARN=arn)["Tags"]
    check("tags are added, replaced and removed", tags == [{"Key": "team", "Value": "c"}], tags)
    check_error("tags of nothing are ResourceNotFound", client, "ResourceNotFoundException", 404,
                lambda: client.list_tags_for_resource(ResourceARN=arn.replace(meeting_id, nobody)))
    check_error("too many tags are TooManyTags", client, "TooManyTagsException", 400,
                lambda: client.tag_resource(
                    ResourceARN=arn, Tags=[{"Key": f"k{n}", "Value": "v"} for n in range(50)]))

    check_error("no transcription can be stopped before it runs", client, "UnprocessableEntityException", 422,
                lambda: client.stop_meeting_transcription(MeetingId=meeting_id))
    client.start_meeting_transcription(
        MeetingId=meeting_id,
        TranscriptionConfiguration={"EngineTranscribeSettings": {"LanguageCode": "en-US"}})
    stopped = client.stop_meeting_transcription(MeetingId=meeting_id)
    check("transcription starts and stops", stopped["ResponseMetadata"]["HTTPStatusCode"] == 200, stopped)
    check_error("two engines are BadRequest", client, "BadRequestException", 400,
                lambda: client.start_meeting_transcription(MeetingId=meeting_id, TranscriptionConfiguration={}))

    replicas = [
        client.create_meeting(MediaRegion="us-west-2", ExternalMeetingId="replica", PrimaryMeetingId=meeting_id)["Meeting"]
        for _ in range(4)
    ]
    check("replicas name their primary", all(one["PrimaryMeetingId"] == meeting_id for one in replicas), replicas)
    try:
        client.create_meeting(MediaRegion="us-west-2", ExternalMeetingId="fifth", PrimaryMeetingId=meeting_id)
        check("a fifth replica is LimitExceeded", False)
    except client.exceptions.LimitExceededException as error:
        # boto3 tries this one again, so its attempts are not looked at.
        check("a fifth replica is LimitExceeded", error.response["Code"] == "LimitExceeded", error.response)

    big = client.create_meeting(MediaRegion="us-east-1", ExternalMeetingId="big")["Meeting"]["MeetingId"]
    hundred = client.batch_create_attendee(
        MeetingId=big, Attendees=[{"ExternalUserId": f"person {n}"} for n in range(100)])
    check("a hundred attendees at once", (len(hundred["Attendees"]), hundred["Errors"]) == (100, []), hundred["Errors"])
    client.delete_meeting(MeetingId=big)

    sts = boto3.client(
        "sts", endpoint_url=arguments.endpoint, region_name=arguments.region,
        aws_access_key_id=arguments.access_key, aws_secret_access_key=arguments.secret_key)
    identity = sts.get_caller_identity()
    check("get_caller_identity names the account", identity["Account"] == arn.split(":")[4], identity)
    if arguments.role:
        keys = sts.assume_role(RoleArn=arguments.role, RoleSessionName="story")["Credentials"]
        temporary = boto3.client(
            "chime-sdk-meetings", endpoint_url=arguments.endpoint, region_name=arguments.region,
            aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"])
        check("temporary keys of an assumed role sign",
              temporary.get_meeting(MeetingId=meeting_id)["Meeting"] == meeting)
        check_error("beyond the role's policy is Forbidden", temporary, "ForbiddenException", 403,
                    lambda: temporary.update_attendee_capabilities(
                        MeetingId=meeting_id, AttendeeId=attendee["AttendeeId"], Capabilities=listener))
        try:
            sts.assume_role(RoleArn=arguments.role + "-else", RoleSessionName="story")
            check("an unknown role is AccessDenied", False)
        except ClientError as error:
            check("an unknown role is AccessDenied", error.response["Error"]["Code"] == "AccessDenied", error.response)

    deleted = client.delete_attendee(MeetingId=meeting_id, AttendeeId=attendee["AttendeeId"])
    check("delete_attendee answers 204", deleted["ResponseMetadata"]["HTTPStatusCode"] == 204, deleted)
    check_error("a deleted attendee is NotFound", client, "NotFoundException", 404,
                lambda: client.get_attendee(MeetingId=meeting_id, AttendeeId=attendee["AttendeeId"]))
    for one in (meeting_id, other_id, with_attendees["Meeting"]["MeetingId"]):
        deleted = client.delete_meeting(MeetingId=one)
        check("delete_meeting answers 204", deleted["ResponseMetadata"]["HTTPStatusCode"] == 204, deleted)
        check_error("a deleted meeting is NotFound", client, "NotFoundException", 404,
                    lambda: client.get_meeting(MeetingId=one))
    check_error("a replica ends with its primary", client, "NotFoundException", 404,
                lambda: client.get_meeting(MeetingId=replicas[0]["MeetingId"]))
    check_error("its attendees are NotFound", client, "NotFoundException", 404,
                lambda: client.list_attendees(MeetingId=meeting_id))
    again = client.create_meeting(**request)["Meeting"]["MeetingId"]
    check("its request token makes a new meeting", again != meeting_id)
    client.delete_meeting(MeetingId=again)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--access-key", required=True)
    parser.add_argument("--secret-key", required=True)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--role", help="ARN of a role with the policy AmazonChimeSDK that these keys may assume")
    story(parser.parse_args())
    print(f"{failures} failed" if failures else "all passed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
