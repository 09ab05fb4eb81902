// What the page says when a meeting ends or something is refused: what happened, and what one can do about it.
// It leaves the deciding to meeting.ts and the showing to main.ts.
import { MeetingSessionStatusCode as Code } from 'amazon-chime-sdk-js';

/** Why one is no longer in the meeting; also the page's `data-state`, so that CSS and tests can see it. */
export type Ending = 'left' | 'ended' | 'removed' | 'elsewhere' | 'full' | 'failed';

export interface Farewell {
  ending: Ending;
  title: string;
  text: string;
}

/** The SDK's last status, in words. */
export function farewell(code: Code): Farewell {
  switch (code) {
    case Code.OK:
    case Code.Left:
      return { ending: 'left', title: 'You left the meeting', text: 'Left by mistake? You can come straight back.' };
    case Code.MeetingEnded:
      return {
        ending: 'ended',
        title: 'The meeting has ended',
        text: 'It was ended for everyone. Joining again starts a new one of the same name.',
      };
    case Code.AudioAttendeeRemoved:
      return {
        ending: 'removed',
        title: 'You were removed from the meeting',
        text: 'Someone who looks after this meeting took you out. Ask them before you join again.',
      };
    case Code.AudioJoinedFromAnotherDevice:
      return {
        ending: 'elsewhere',
        title: 'You joined from somewhere else',
        text: 'The meeting goes on in your other window or device, so this one hung up.',
      };
    case Code.AudioCallAtCapacity:
    case Code.VideoCallAtSourceCapacity:
      return { ending: 'full', title: 'The meeting is full', text: 'Wait until someone has left, then join again.' };
    case Code.AudioAuthenticationRejected:
    case Code.SignalingBadRequest:
      return {
        ending: 'failed',
        title: 'The meeting did not let you in',
        text: 'Your invitation is no longer valid: the meeting may have ended, or you were removed. Join again to get a new one.',
      };
    default:
      return {
        ending: 'failed',
        title: 'The connection was lost',
        text:
          'We tried to reach the meeting again and again without success. Check your network; if others are cut off ' +
          `too, the server may be down. Then join again. (${Code[code] ?? code})`,
      };
  }
}

/** What to tell someone whose microphone, camera or screen could not be had. */
export function deviceProblem(what: 'microphone' | 'camera' | 'screen', error: unknown): string {
  const name = error instanceof Error ? error.name : '';
  const text = error instanceof Error ? `${error.name} ${error.message}` : String(error);
  if (/denied|NotAllowed/i.test(text)) {
    return `The browser was not allowed to use your ${what}. Allow it beside the address bar, then try again.`;
  }
  if (/NotFound/i.test(text)) return `No ${what} was found. Plug one in, then try again.`;
  if (/NotReadable|in use/i.test(text)) return `Your ${what} is busy. Close the program that uses it, then try again.`;
  return `Your ${what} could not be started (${name || text}).`;
}

/** Browsers give pages no devices unless they come over https or from the machine itself. */
export const INSECURE =
  'This page came over plain http from another machine, and browsers give such pages no microphone and no camera. ' +
  'Open it by its https address (the server makes one with --tls-local), or on the server itself as http://localhost.';
