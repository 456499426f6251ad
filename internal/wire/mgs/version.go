package mgs

// ClientVersion is the version that Sekisho's client reports. Agents compare it
// with versions of AWS's client to learn what a client can do. AWS has never
// released this version, so a server can tell the two clients apart by it.
const ClientVersion = "1.2.700.0"
