// Whether the unmodified SDK finds that everything is ready for a meeting: each check of its readiness checker, three
// times in a row on one session.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gathering } from '../harness.mjs';

const ROUNDS = 3;
/** In the page: one check by its name, and how long it took: the checker looks every 3 s, and gives up after 10. */
async function check(name) {
  const { sdk, session } = lab;
  const checker = (window.checker ??= new sdk.DefaultMeetingReadinessChecker(new sdk.ConsoleLogger('checker', sdk.LogLevel.WARN), session));
  const devices = await navigator.mediaDevices.enumerateDevices();
  const device = kind => devices.find(one => one.kind === kind).deviceId;
  const given = {
    checkAudioInput: () => [device('audioinput')],
    checkAudioOutput: () => ['', async () => true],
    checkVideoInput: () => [device('videoinput')],
    checkCameraResolution: () => [device('videoinput'), 640, 480],
    checkContentShareConnectivity: () => [],
    checkAudioConnectivity: () => [device('audioinput')],
    checkVideoConnectivity: () => [device('videoinput')],
    checkNetworkUDPConnectivity: () => [],
    checkNetworkTCPConnectivity: () => [],
  };
  const began = performance.now();
  const feedback = await checker[name](...given[name]());
  const kinds = sdk[`${name.replace('check', 'Check')}Feedback`];
  return { feedback: kinds[feedback], ms: performance.now() - began };
}

const CHECKS = [
  'checkAudioInput', 'checkAudioOutput', 'checkVideoInput', 'checkCameraResolution', 'checkAudioConnectivity',
  'checkVideoConnectivity', 'checkContentShareConnectivity', 'checkNetworkUDPConnectivity', 'checkNetworkTCPConnectivity',
];

test('every check of the readiness checker passes, three times in a row', async t => {
  const meeting = new Gathering(t);
  const ann = await meeting.invite('ann');
  // The checker does not say which devices it may use before somebody has asked for one.
  await ann.ask(async () => (await navigator.mediaDevices.getUserMedia({ audio: true, video: true })).getTracks().forEach(track => track.stop()));
  await ann.ask(invitation => lab.prepare(invitation), ann.invitation);
  for (let round = 1; round <= ROUNDS; round++) {
    for (const name of CHECKS) {
      const { feedback, ms } = await ann.ask(check, name);
      t.diagnostic(`round ${round}: ${name} ${feedback} after ${Math.round(ms)} ms`);
      assert.equal(feedback, 'Succeeded', `${name}, round ${round}\n${await ann.story()}`);
    }
  }
});
