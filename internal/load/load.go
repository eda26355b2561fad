// Package load drives a server with the requests of many simulated accounts, and
// measures it.
//
// A [Population] makes accounts with real cryptography: keys, ledgers, seed and
// credential splits, sealed shares, signatures. It keeps no directories and waits
// for no passphrases, so that a hundred thousand accounts fit into one process;
// and all of them share one Private Master Seed and one split of it, sealed anew
// for each, because SLIP-39 stretches a seed for several milliseconds.
//
// Requests are signed before they are sent ([Task]); [Server.Closed] sends them
// from so many clients, [Server.Open] at times that are drawn beforehand. What
// comes back is kept and then checked as a device checks it, when nothing is
// measured any more: every answer is verified, every share opened and combined.
//
// The server is the real program in a process of its own ([Start]), so that its
// processor time, and what it writes, are counted apart.
package load
