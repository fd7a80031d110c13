export default function Home() {
  return <h1>Channels</h1>;
}
