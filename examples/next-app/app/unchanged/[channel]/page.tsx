import { Viewers } from "../../../components/unchanged-viewers";

/** The page of a channel: whoever opens it is a viewer. */
export default async function Watch({ params }: { params: Promise<{ channel: string }> }) {
  const channelId = decodeURIComponent((await params).channel);
  return (
    <>
      <h1>{channelId}</h1>
      <Viewers channelId={channelId} />
    </>
  );
}
