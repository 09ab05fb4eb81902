// The library's client in one meeting with Chromium running the unmodified SDK: both must hear and see each other.
//
//   cargo build -p campanile && cargo build -p campanile-client --example meet
//   cargo xtask test            (once: installs the browser tests' packages and builds their page)
//   node crates/campanile-client/tests/chromium.mjs
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Gathering, RED, setUp, shared, tearDown } from '../../../web/test/harness.mjs';

const MEET = fileURLToPath(new URL('../../../target/debug/examples/meet', import.meta.url));
const [ANN_HZ, ROBOT_HZ, SECONDS] = [440, 1130, 12];
const folder = mkdtempSync(join(tmpdir(), 'campanile-chromium-'));

await setUp();
const ending = [];
try {
  const meeting = new Gathering({ after: end => ending.push(end), diagnostic: line => console.log(line) });
  const invitation = await shared.server.invite(meeting.name, 'robot');
  const file = join(folder, 'robot.json');
  writeFileSync(file, JSON.stringify(invitation));
  const ann = await meeting.join('ann', { tone: ANN_HZ });
  await ann.ask(face => lab.cameraOn(face), { colour: RED });
  const robot = spawn(MEET, [String(ROBOT_HZ), String(SECONDS), file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const said = [];
  createInterface({ input: robot.stdout }).on('line', line => said.push(line));
  await ann.hearsOnly(ROBOT_HZ, ANN_HZ);
  const robotId = invitation.Attendee.AttendeeId;
  await ann.until('see the robot', id => lab.event('firstFrame', { attendeeId: id }), robotId);
  await ann.until('see a second of it', id => (lab.see(id)?.frames ?? 0) > 15, robotId);
  console.log('the browser sees', await ann.sees(robotId));
  await once(robot, 'exit');
  const last = said.filter(line => line.startsWith('heard')).at(-1) ?? 'nothing';
  console.log('the robot:', last);
  const [, pitch, frames, keyframes, holes] = /heard: \((\d+).*seen: {\d+: \[(\d+), (\d+), (\d+)\]}/.exec(last) ?? [];
  assert.equal(Number(pitch), ANN_HZ);
  assert.ok(Number(frames) > SECONDS * 8 && Number(keyframes) > 0, 'the robot sees the browser');
  assert.equal(Number(holes), 0);
} finally {
  for (const end of ending) await end();
  await tearDown();
  rmSync(folder, { recursive: true, force: true });
}
console.log('ok');
process.exit(0);
