/** Whether a lower-case name is a valid channel name. The server refuses a stream with an invalid name in its list. */
export const isChannel = (name: string): boolean => /^[a-z\d._-]{1,64}$/.test(name);
