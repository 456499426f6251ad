// Package event reports what happens to other systems: sessions that start, end,
// fail or are denied, and nodes that connect and disconnect, in the JSON format of
// Amazon EventBridge's events.
//
// Publish queues an event in memory and never blocks. The bus stores it a moment
// later and then delivers it at least once to every webhook whose pattern matches.
// Events of one session or one node are delivered in order. A failing webhook does
// not delay the others.
//
// Everything is bounded: if too many events wait for a webhook, the oldest are
// dropped and counted.
package event
