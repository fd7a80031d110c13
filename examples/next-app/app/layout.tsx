import Link from "next/link";
import type { ReactNode } from "react";

export const metadata = { title: "Channels" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <nav>
          <Link href="/">Home</Link> <Link href="/watch/ana.tv">ana.tv</Link>{" "}
          <Link href="/watch/eva.tv">eva.tv</Link> <Link href="/parts">Parts</Link>
        </nav>
        <main>{children}</main>
      </body>
    </html>
  );
}
