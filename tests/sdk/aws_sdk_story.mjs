// The whole life of a meeting through the unmodified AWS SDK for JavaScript, against a running Campanile.
//
//     node aws_sdk_story.mjs --endpoint URL --access-key ID --secret-key SECRET [--region REGION]
//
// Prints one line for each check and exits with 1 if any failed.

import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import * as sdk from '@aws-sdk/client-chime-sdk-meetings';

const { values: options } = parseArgs({
  options: {
    endpoint: { type: 'string' },
    'access-key': { type: 'string' },
    'secret-key': { type: 'string' },
    region: { type: 'string', default: 'us-east-1' },
  },
});
for (const name of ['endpoint', 'access-key', 'secret-key']) {
  if (!options[name]) {
    console.error(`--${name} is required`);
    process.exit(2);
  }
}

let failures = 0;

function check(what, passed, detail) {
  console.log(`${passed ? 'ok  ' : 'FAIL'} ${what}${passed ? '' : `: ${JSON.stringify(detail)}`}`);
  if (!passed) failures += 1;
}

const same = (what, found, expected) => check(what, isDeepStrictEqual(found, expected), { found, expected });

/** The call fails with this exception, of its own class when it is modelled, as applications catch it. */
async function checkError(what, kind, status, call) {
  try {
    check(what, false, await call());
  } catch (error) {
    const { httpStatusCode, requestId, attempts } = error.$metadata ?? {};
    const typed = error instanceof (sdk[kind] ?? sdk.ChimeSDKMeetingsServiceException);
    check(
      what,
      typed && error.name === kind && httpStatusCode === status && requestId?.length === 36 && attempts === 1,
      { name: error.name, message: error.message, metadata: error.$metadata },
    );
  }
}

const clientWith = secretAccessKey =>
  new sdk.ChimeSDKMeetings({
    endpoint: options.endpoint,
    region: options.region,
    credentials: { accessKeyId: options['access-key'], secretAccessKey },
  });

const client = clientWith(options['secret-key']);
const request = {
  ClientRequestToken: randomUUID(),
  MediaRegion: 'eu-central-1',
  ExternalMeetingId: 'réunion « été »',
  MeetingFeatures: { Attendee: { MaxCount: 9 }, Audio: { EchoReduction: 'AVAILABLE' } },
  Tags: [{ Key: 'team', Value: 'a b' }],
};

async function story() {
  const { Meeting: meeting } = await client.createMeeting(request);
  const MeetingId = meeting.MeetingId;
  same(
    'createMeeting echoes what it was given',
    [meeting.ExternalMeetingId, meeting.MediaRegion, meeting.MeetingFeatures],
    [request.ExternalMeetingId, request.MediaRegion, request.MeetingFeatures],
  );
  const placement = meeting.MediaPlacement;
  const signaling = new URL(placement.SignalingUrl);
  check(
    'SignalingUrl is a WebSocket without a query',
    /^wss?:$/.test(signaling.protocol) && signaling.search === '' && signaling.pathname === `/control/${MeetingId}`,
    placement,
  );
  check('AudioHostUrl is host:port', /^[^/]+:\d+$/.test(placement.AudioHostUrl), placement);
  check(
    "clients' telemetry stays here",
    new URL(placement.EventIngestionUrl).origin === new URL(options.endpoint).origin,
    placement,
  );
  const { Meeting: retried, $metadata } = await client.createMeeting(request);
  same('a retry finds the same meeting', retried, meeting);
  check('answers carry a request id', $metadata.requestId?.length === 36, $metadata);
  const { Meeting: other } = await client.createMeeting({ ...request, ClientRequestToken: undefined });
  check('another token makes another meeting', other.MeetingId !== MeetingId, other);
  same('getMeeting finds it', (await client.getMeeting({ MeetingId })).Meeting, meeting);

  const Capabilities = { Audio: 'SendReceive', Video: 'Receive', Content: 'None' };
  const ExternalUserId = 'usér « ü»';
  const { Attendee: attendee } = await client.createAttendee({ MeetingId, ExternalUserId, Capabilities });
  const AttendeeId = attendee.AttendeeId;
  same(
    'createAttendee keeps name and capabilities',
    [attendee.ExternalUserId, attendee.Capabilities],
    [ExternalUserId, Capabilities],
  );
  check('JoinToken suits a WebSocket subprotocol', /^[A-Za-z0-9_-]+$/.test(attendee.JoinToken), attendee);
  same(
    'the same ExternalUserId is the same attendee',
    (await client.createAttendee({ MeetingId, ExternalUserId })).Attendee,
    attendee,
  );
  same('getAttendee finds it', (await client.getAttendee({ MeetingId, AttendeeId })).Attendee, attendee);
  const people = [...Array(6).keys()].map(n => ({ ExternalUserId: `person ${n}` }));
  const batch = await client.batchCreateAttendee({
    MeetingId,
    Attendees: [...people, { ExternalUserId: 'aws:reserved' }],
  });
  same(
    'batchCreateAttendee makes six and reports one',
    [batch.Attendees.length, batch.Errors.map(error => error.ExternalUserId)],
    [6, ['aws:reserved']],
  );

  const listed = [];
  let pages = 0;
  let NextToken;
  do {
    const page = await client.listAttendees({ MeetingId, MaxResults: 3, NextToken });
    listed.push(...page.Attendees);
    ({ NextToken } = page);
    pages += 1;
  } while (NextToken);
  const byId = (a, b) => (a.AttendeeId < b.AttendeeId ? -1 : 1);
  same(
    'listAttendees shows each once, in pages of three',
    [pages, listed.sort(byId)],
    [3, [attendee, ...batch.Attendees].sort(byId)],
  );

  const withAttendees = await client.createMeetingWithAttendees({
    MediaRegion: 'us-east-1',
    ExternalMeetingId: 'with attendees',
    MeetingFeatures: { Video: { MaxResolution: 'None' } },
    Attendees: [{ ExternalUserId: 'ann' }, { ExternalUserId: 'bob', Capabilities }],
  });
  same(
    'createMeetingWithAttendees applies the meeting\'s features',
    [withAttendees.Attendees.map(one => one.Capabilities), withAttendees.Errors[0].ExternalUserId],
    [[{ Audio: 'SendReceive', Video: 'Receive', Content: 'SendReceive' }], 'bob'],
  );

  const nobody = '00000000-0000-0000-0000-000000000000';
  const notFound = (what, call) => checkError(what, 'NotFoundException', 404, call);
  const badRequest = (what, call) => checkError(what, 'BadRequestException', 400, call);
  await notFound('an unknown meeting is NotFound', () => client.getMeeting({ MeetingId: nobody }));
  await notFound('an unknown attendee is NotFound', () => client.getAttendee({ MeetingId, AttendeeId: nobody }));
  await notFound('an attendee of another meeting is NotFound', () =>
    client.getAttendee({ MeetingId: other.MeetingId, AttendeeId }),
  );
  await badRequest('a malformed id is BadRequest', () => client.getMeeting({ MeetingId: 'has/slash and?q' }));
  await badRequest('an empty request is BadRequest', () => client.createMeeting({}));
  await badRequest('a bad request token is BadRequest', () =>
    client.createMeeting({ ...request, ClientRequestToken: 'bad token!' }),
  );
  await badRequest('a reserved prefix is BadRequest', () =>
    client.createAttendee({ MeetingId, ExternalUserId: 'AWS:x' }),
  );
  await badRequest('a page of none is BadRequest', () => client.listAttendees({ MeetingId, MaxResults: 0 }));
  await checkError('a wrong secret is refused', 'InvalidSignatureException', 403, () =>
    clientWith(`${options['secret-key']}x`).getMeeting({ MeetingId }),
  );
  const slashed = new sdk.ChimeSDKMeetings({
    endpoint: `${options.endpoint}/`,
    region: 'eu-central-1',
    credentials: { accessKeyId: options['access-key'], secretAccessKey: options['secret-key'] },
  });
  same(
    'an endpoint with a slash, and another region, do',
    (await slashed.getMeeting({ MeetingId })).Meeting,
    meeting,
  );

  const listener = { Audio: 'Receive', Video: 'Receive', Content: 'Receive' };
  const { Attendee: updated } = await client.updateAttendeeCapabilities({
    MeetingId,
    AttendeeId,
    Capabilities: listener,
  });
  same('updateAttendeeCapabilities replaces all three', updated, { ...attendee, Capabilities: listener });
  await client.batchUpdateAttendeeCapabilitiesExcept({
    MeetingId,
    ExcludedAttendeeIds: [{ AttendeeId }],
    Capabilities,
  });
  const { Attendees: after } = await client.listAttendees({ MeetingId });
  same(
    'batchUpdateAttendeeCapabilitiesExcept leaves out who is excluded',
    after.map(one => one.Capabilities),
    after.map(one => (one.AttendeeId === AttendeeId ? listener : Capabilities)),
  );
  await notFound('capabilities of nobody are NotFound', () =>
    client.updateAttendeeCapabilities({ MeetingId, AttendeeId: nobody, Capabilities: listener }),
  );

  const ResourceARN = meeting.MeetingArn;
  await client.tagResource({ ResourceARN, Tags: [{ Key: 'team', Value: 'c' }, { Key: 'more', Value: '' }] });
  await client.untagResource({ ResourceARN, TagKeys: ['more', 'never-was'] });
  same(
    'tags are added, replaced and removed',
    (await client.listTagsForResource({ ResourceARN })).Tags,
    [{ Key: 'team', Value: 'c' }],
  );
  await checkError('tags of nothing are ResourceNotFound', 'ResourceNotFoundException', 404, () =>
    client.listTagsForResource({ ResourceARN: ResourceARN.replace(MeetingId, nobody) }),
  );
  const fifty = [...Array(50).keys()].map(n => ({ Key: `k${n}`, Value: 'v' }));
  await checkError('too many tags are TooManyTags', 'TooManyTagsException', 400, () =>
    client.tagResource({ ResourceARN, Tags: fifty }),
  );

  await checkError('no transcription can be stopped before it runs', 'UnprocessableEntityException', 422, () =>
    client.stopMeetingTranscription({ MeetingId }),
  );
  await client.startMeetingTranscription({
    MeetingId,
    TranscriptionConfiguration: { EngineTranscribeSettings: { LanguageCode: 'en-US' } },
  });
  const stopped = await client.stopMeetingTranscription({ MeetingId });
  same('transcription starts and stops', stopped.$metadata.httpStatusCode, 200);

  const { Meeting: replica } = await client.createMeeting({
    MediaRegion: 'us-west-2',
    ExternalMeetingId: 'replica',
    PrimaryMeetingId: MeetingId,
  });
  same('a replica names its primary', replica.PrimaryMeetingId, MeetingId);
  await badRequest('a replica of a replica is BadRequest', () =>
    client.createMeeting({
      MediaRegion: 'us-west-2',
      ExternalMeetingId: 'replica',
      PrimaryMeetingId: replica.MeetingId,
    }),
  );

  const deleted = await client.deleteAttendee({ MeetingId, AttendeeId });
  same('deleteAttendee answers 204', deleted.$metadata.httpStatusCode, 204);
  await notFound('a deleted attendee is NotFound', () => client.getAttendee({ MeetingId, AttendeeId }));
  for (const one of [MeetingId, other.MeetingId, withAttendees.Meeting.MeetingId]) {
    const ended = await client.deleteMeeting({ MeetingId: one });
    same('deleteMeeting answers 204', ended.$metadata.httpStatusCode, 204);
    await notFound('a deleted meeting is NotFound', () => client.getMeeting({ MeetingId: one }));
  }
  await notFound('a replica ends with its primary', () => client.getMeeting({ MeetingId: replica.MeetingId }));
  await notFound('its attendees are NotFound', () => client.listAttendees({ MeetingId }));
  const { Meeting: again } = await client.createMeeting(request);
  check('its request token makes a new meeting', again.MeetingId !== MeetingId, again);
  await client.deleteMeeting({ MeetingId: again.MeetingId });
}

await story();
console.log(failures ? `${failures} failed` : 'all passed');
process.exit(failures ? 1 : 0);
