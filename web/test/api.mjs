// Calls to the HTTP API, signed as an AWS SDK signs them (Signature Version 4): for what the demo does not offer.
import { createHash, createHmac, randomUUID } from 'node:crypto';

const sha256 = text => createHash('sha256').update(text).digest('hex');
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();

/** A meeting made by the API with these members, and how people are invited to it. */
export async function meet(server, members = {}) {
  const named = { ClientRequestToken: randomUUID(), ExternalMeetingId: 'story', MediaRegion: 'us-east-1' };
  const { Meeting } = await call(server, 'POST', '/meetings', { ...named, ...members });
  const attendees = `/meetings/${Meeting.MeetingId}/attendees`;
  const invite = async name => ({ Meeting, ...(await call(server, 'POST', attendees, { ExternalUserId: name })) });
  const remove = invitation => call(server, 'DELETE', `${attendees}/${invitation.Attendee.AttendeeId}`);
  return { invite, remove };
}

/** One call to `server`; returns the answer's JSON, and throws what the server said if it refused. */
export async function call(server, method, path, body) {
  const url = new URL(path, server.api);
  const payload = body === undefined ? '' : JSON.stringify(body);
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `${time.slice(0, 8)}/${server.region}/chime/aws4_request`;
  const headers = { host: url.host, 'x-amz-content-sha256': sha256(payload), 'x-amz-date': time };
  const names = Object.keys(headers).join(';');
  const query = [...url.searchParams].map(pair => pair.map(encodeURIComponent).join('=')).sort().join('&');
  const canonical = [
    method, url.pathname, query, ...Object.entries(headers).map(([name, value]) => `${name}:${value}`), '', names, sha256(payload),
  ].join('\n');
  const key = scope.split('/').reduce(hmac, `AWS4${server.secret_access_key}`);
  const signature = createHmac('sha256', key)
    .update(['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n'))
    .digest('hex');
  const { host, ...sent } = headers;
  const authorization = `AWS4-HMAC-SHA256 Credential=${server.access_key_id}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
  const response = await fetch(url, {
    method,
    headers: { ...sent, authorization, ...(payload && { 'content-type': 'application/json' }) },
    body: payload || undefined,
  });
  const text = await response.text();
  if (!response.ok) throw Object.assign(new Error(`${method} ${path} answered ${response.status}: ${text}`), { status: response.status });
  return text ? JSON.parse(text) : {};
}
