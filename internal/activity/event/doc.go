// Package event tells the outside what happens: sessions that start, end,
// fail or are denied, nodes that come and go, in the JSON that Amazon
// EventBridge has for events.
//
// An event is published from memory, so that nobody waits for it, is stored
// a moment later, and from there is delivered to every webhook that wants it
// at least once. Events of one session, or of one node, are delivered in
// their order; a webhook that fails holds up no other.
//
// Everything is bounded: what waits for a webhook that fails for long is
// dropped, the oldest first, and counted.
package event
