import { Viewers } from "../../../components/viewers";
import { counterUrl, initialCount } from "../../../counter";

// The address of the counter and the count are read at every request.
export const dynamic = "force-dynamic";

/** The page of a channel: whoever opens it is a viewer. */
export default async function Watch({ params }: { params: Promise<{ channel: string }> }) {
  const channelId = decodeURIComponent((await params).channel);
  return (
    <>
      <h1>{channelId}</h1>
      <Viewers channelId={channelId} baseUrl={counterUrl()} initialCount={await initialCount(channelId)} />
    </>
  );
}
