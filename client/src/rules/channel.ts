/** Whether a name is one of a channel, in lower case. One that isn't would have a whole stream refused. */
export const isChannel = (name: string): boolean => /^[a-z\d._-]{1,64}$/.test(name);
