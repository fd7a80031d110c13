/** The server's limit of channels per stream. */
export const MAX_CHANNELS = 50;

/** Whether a lower-case name is a valid channel name. The server refuses a stream with an invalid name in its list. */
export const isChannel = (name: string): boolean => /^[\w.-]{1,64}$/.test(name);
