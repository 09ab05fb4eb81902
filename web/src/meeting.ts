// One meeting as the page sees it: the SDK's session, its people and their tiles. It knows no DOM but the elements
// that the SDK needs to play into; what it learns it tells through `Listener`.
import {
  type ActiveSpeakerPolicy,
  type AudioVideoFacade,
  type AudioVideoObserver,
  type ContentShareObserver,
  type DataMessage,
  type MeetingSessionStatusCode,
  type VideoSource,
  type VideoTileState,
  ConsoleLogger,
  DefaultActiveSpeakerPolicy,
  DefaultDeviceController,
  DefaultMeetingSession,
  DefaultModality,
  LogLevel,
  MeetingSessionConfiguration,
  TargetDisplaySize,
  VideoPreference,
  VideoPreferences,
  VideoPriorityBasedPolicy,
} from 'amazon-chime-sdk-js';
import { deviceProblem } from './words';

/** What `POST /demo/join` answers: the two records, in the SDK's own field names. */
export interface Invitation {
  Meeting: { MeetingId: string };
  Attendee: { AttendeeId: string; ExternalUserId: string };
}

/** One person in the meeting. */
export interface Person {
  attendeeId: string;
  name: string;
  self: boolean;
  muted: boolean;
  /** 0 silent to 1 loud, five times a second. */
  volume: number;
  /** 0 cannot be heard, 0.5 weak, 1 good: how well the server hears them. */
  signal: number;
}

/** A chat line. `undelivered` marks one of ours that the meeting gave back because there were too many. */
export interface Line {
  from: string;
  self: boolean;
  text: string;
  at: Date;
  undelivered: boolean;
}

export interface Listener {
  connecting(again: boolean): void;
  connected(): void;
  stopped(code: MeetingSessionStatusCode): void;
  people(people: Person[]): void;
  volumes(people: Person[]): void;
  speaking(attendeeIds: string[]): void;
  /** A picture appeared or changed. `attendeeId` is the person's; `content` says that it is their screen. */
  picture(tile: VideoTileState, attendeeId: string, content: boolean): void;
  pictureGone(tileId: number): void;
  line(line: Line): void;
  notice(text: string): void;
  muted(muted: boolean): void;
  sharing(sharing: boolean): void;
  camera(on: boolean): void;
}

const CHAT_TOPIC = 'chat';
/** Five minutes, the longest that a data message may be kept: whoever comes late can read what was just said. */
const CHAT_LIFETIME_MS = 300_000;
/** The protocol's bound for the payload of one data message. */
const CHAT_BYTES_MAX = 2048;
/** Chat lines remembered to drop what a reconnect replays: the server keeps no more than this itself. */
const SEEN_MAX = 1024;

/** `ExternalUserId` carries the name, behind a short random prefix that keeps two people of one name apart. */
export function displayName(externalUserId: string): string {
  return externalUserId.replace(/^[0-9a-f]{8}#/, '');
}

function owner(attendeeId: string): { attendeeId: string; content: boolean } {
  const modality = new DefaultModality(attendeeId);
  return { attendeeId: modality.base(), content: modality.hasModality(DefaultModality.MODALITY_CONTENT) };
}

export class Meeting {
  private readonly av: AudioVideoFacade;
  private readonly devices: DefaultDeviceController;
  private readonly policy: VideoPriorityBasedPolicy;
  private readonly self: string;
  private readonly roster = new Map<string, Person>();
  private readonly seen = new Set<string>();
  private microphoneId: string | undefined;
  private microphoneOpen = false;
  private cameraId: string | undefined;
  private cameraOn = false;
  private stopped = false;

  constructor(invitation: Invitation, private readonly listener: Listener) {
    const logger = new ConsoleLogger('campanile', LogLevel.WARN);
    this.devices = new DefaultDeviceController(logger);
    const configuration = new MeetingSessionConfiguration(invitation.Meeting, invitation.Attendee);
    configuration.enableSimulcastForUnifiedPlanChromiumBasedBrowsers = true;
    this.policy = new VideoPriorityBasedPolicy(logger);
    configuration.videoDownlinkBandwidthPolicy = this.policy;
    this.av = new DefaultMeetingSession(configuration, logger, this.devices).audioVideo;
    this.self = invitation.Attendee.AttendeeId;
    this.observe(new DefaultActiveSpeakerPolicy());
  }

  /** Goes in. A device that cannot be had is told as a notice and does not keep anyone out. */
  async start(ear: HTMLAudioElement, want: { microphone: boolean; camera: boolean }): Promise<void> {
    if (!want.microphone) this.av.realtimeMuteLocalAudio();
    else await this.openMicrophone();
    await this.av.bindAudioElement(ear);
    this.av.start();
    if (want.camera) await this.setCamera(true);
  }

  leave(): void {
    this.av.stop();
  }

  get isMuted(): boolean {
    return this.av.realtimeIsLocalAudioMuted();
  }

  async setMuted(muted: boolean): Promise<void> {
    if (muted) return this.av.realtimeMuteLocalAudio();
    if (!this.microphoneOpen && !(await this.openMicrophone())) return;
    this.av.realtimeUnmuteLocalAudio();
  }

  get hasCamera(): boolean {
    return this.cameraOn;
  }

  async setCamera(on: boolean): Promise<void> {
    if (on === this.cameraOn) return;
    if (on) {
      try {
        await this.av.startVideoInput(this.cameraId ?? {});
      } catch (error) {
        this.listener.notice(deviceProblem('camera', error));
        return;
      }
      if (this.stopped) return void this.av.stopVideoInput();
      this.av.startLocalVideoTile();
    } else {
      this.av.stopLocalVideoTile();
      await this.av.stopVideoInput();
    }
    this.cameraOn = on;
    this.listener.camera(on);
  }

  async share(): Promise<void> {
    try {
      await this.av.startContentShareFromScreenCapture();
    } catch (error) {
      // Closing the browser's own picker is a change of mind, not a problem.
      if (!(error instanceof Error && /NotAllowed|denied/i.test(`${error.name} ${error.message}`))) {
        this.listener.notice(deviceProblem('screen', error));
      }
    }
  }

  stopSharing(): void {
    this.av.stopContentShare();
  }

  /** Sends a chat line; false when it is too long for one data message. */
  say(text: string): boolean {
    const bytes = new TextEncoder().encode(text);
    if (bytes.length > CHAT_BYTES_MAX) return false;
    this.av.realtimeSendDataMessage(CHAT_TOPIC, bytes, CHAT_LIFETIME_MS);
    this.listener.line({ from: 'You', self: true, text, at: new Date(), undelivered: false });
    return true;
  }

  bindVideo(tileId: number, element: HTMLVideoElement): void {
    this.av.bindVideoElement(tileId, element);
  }

  async listDevices(): Promise<{ microphones: MediaDeviceInfo[]; cameras: MediaDeviceInfo[]; outputs: MediaDeviceInfo[] }> {
    const [microphones, cameras, outputs] = [
      await this.av.listAudioInputDevices(),
      await this.av.listVideoInputDevices(),
      await this.av.listAudioOutputDevices(),
    ];
    return { microphones, cameras, outputs };
  }

  async pickMicrophone(deviceId: string): Promise<void> {
    this.microphoneId = deviceId;
    await this.openMicrophone();
  }

  async pickCamera(deviceId: string): Promise<void> {
    this.cameraId = deviceId;
    if (this.cameraOn) await this.av.startVideoInput(deviceId);
  }

  async pickOutput(deviceId: string): Promise<void> {
    await this.av.chooseAudioOutput(deviceId);
  }

  private async openMicrophone(): Promise<boolean> {
    try {
      await this.av.startAudioInput(this.microphoneId ?? {});
      this.microphoneOpen = true;
    } catch (error) {
      this.av.realtimeMuteLocalAudio();
      this.listener.notice(deviceProblem('microphone', error) + ' You can listen meanwhile.');
      return false;
    }
    return true;
  }

  private observe(speakers: ActiveSpeakerPolicy): void {
    const { av, listener } = this;
    const observer: AudioVideoObserver = {
      audioVideoDidStartConnecting: again => listener.connecting(again),
      audioVideoDidStart: () => listener.connected(),
      audioVideoDidStop: status => this.onStop(status.statusCode()),
      videoTileDidUpdate: tile => this.onTile(tile),
      videoTileWasRemoved: tileId => listener.pictureGone(tileId),
      remoteVideoSourcesDidChange: sources => this.prefer(sources),
      videoSendDidBecomeUnavailable: () => {
        this.cameraOn = false;
        listener.camera(false);
        listener.notice('There are as many cameras as the meeting can carry. Yours stays off for now.');
      },
      connectionDidBecomePoor: () => listener.notice('Your connection is poor. Turning the camera off may help.'),
    };
    av.addObserver(observer);
    const shareObserver: ContentShareObserver = {
      contentShareDidStart: () => listener.sharing(true),
      contentShareDidStop: () => listener.sharing(false),
    };
    av.addContentShareObserver(shareObserver);
    av.realtimeSubscribeToAttendeeIdPresence((id, present, externalUserId) =>
      this.onPresence(id, present, externalUserId ?? id),
    );
    av.realtimeSubscribeToMuteAndUnmuteLocalAudio(muted => listener.muted(muted));
    av.realtimeSubscribeToReceiveDataMessage(CHAT_TOPIC, message => this.onChat(message));
    av.subscribeToActiveSpeakerDetector(speakers, ids => listener.speaking(ids.map(id => owner(id).attendeeId)));
  }

  private onPresence(id: string, present: boolean, externalUserId: string): void {
    const { attendeeId, content } = owner(id);
    if (content) return;
    const known = this.roster.get(attendeeId);
    if (present && !known) {
      const self = attendeeId === this.self;
      const person: Person = {
        attendeeId,
        name: displayName(externalUserId),
        self,
        muted: self && this.isMuted,
        volume: 0,
        signal: 1,
      };
      this.roster.set(attendeeId, person);
      this.av.realtimeSubscribeToVolumeIndicator(attendeeId, (_, volume, muted, signal) => {
        // Only what changed is told; null means "as before".
        person.volume = volume ?? person.volume;
        person.muted = muted ?? person.muted;
        person.signal = signal ?? person.signal;
        this.listener.volumes([...this.roster.values()]);
      });
    } else if (!present && known) {
      this.roster.delete(attendeeId);
      this.av.realtimeUnsubscribeFromVolumeIndicator(attendeeId);
    }
    this.listener.people([...this.roster.values()]);
  }

  private onTile(tile: VideoTileState): void {
    if (tile.tileId === null || !tile.boundAttendeeId) return;
    const { attendeeId, content } = owner(tile.boundAttendeeId);
    this.listener.picture(tile, attendeeId, content);
  }

  /**
   * Says which pictures are shown large: a shared screen comes first, and the small tiles of a crowd need no large
   * layer. The policy subscribes to exactly what it is told here, so every source must be named.
   */
  private prefer(sources: VideoSource[]): void {
    const remote = sources.map(source => source.attendee.attendeeId).filter(id => owner(id).attendeeId !== this.self);
    const crowd = remote.length > 4 || remote.some(id => owner(id).content);
    const preferences = VideoPreferences.prepare();
    for (const id of remote) {
      const large = owner(id).content || !crowd;
      const size = large ? TargetDisplaySize.High : TargetDisplaySize.Low;
      preferences.add(new VideoPreference(id, owner(id).content ? 1 : 2, size));
    }
    this.policy.chooseRemoteVideoSources(preferences.build());
  }

  private onChat(message: DataMessage): void {
    const self = message.senderAttendeeId === this.self;
    const key = `${message.senderAttendeeId} ${message.timestampMs}`;
    // A message of our own comes back only when it was refused, or in the replay after a reconnect.
    if (self && !message.throttled) return;
    if (!message.throttled) {
      if (this.seen.has(key)) return;
      if (this.seen.size >= SEEN_MAX) this.seen.clear();
      this.seen.add(key);
    }
    this.listener.line({
      from: self ? 'You' : displayName(message.senderExternalUserId),
      self,
      text: message.text(),
      at: message.throttled ? new Date() : new Date(message.timestampMs),
      undelivered: message.throttled,
    });
  }

  private onStop(code: MeetingSessionStatusCode): void {
    if (this.stopped) return;
    this.stopped = true;
    this.listener.stopped(code);
    // Lets go of microphone and camera: their lights go out with the meeting.
    void this.devices.destroy();
  }
}
