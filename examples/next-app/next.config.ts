import type { NextConfig } from "next";

const config: NextConfig = {
  reactStrictMode: true,
  // This folder, and not one above it with another lock file.
  turbopack: { root: import.meta.dirname },
};

export default config;
