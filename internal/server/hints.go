package server

import (
	"net/netip"
	"sync"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/ledger"
)

// Limits of the streams that are open at a time. One more of a device takes the
// place of its oldest, whose connection may be dead without anybody knowing.
const (
	streamsPerDevice = 8
	streamsPerRemote = 256 // this machine is exempt, as in limits.go
	maxStreams       = 16384
)

// hub wakes the streams of an account when something of it has changed. It keeps
// for each stream which kinds of hints wait, and no queue: a hint that waits says
// as much as many of its kind. So it never blocks whoever gives a hint.
type hub struct {
	mu        sync.Mutex
	byAccount map[ledger.AccountID][]*stream // the oldest first
	byRemote  map[netip.Prefix]int
	open      int
	closed    bool
}

// stream is one open Watch.
type stream struct {
	account ledger.AccountID
	device  uint64
	remote  netip.Prefix
	local   bool
	wake    chan struct{} // has room for one

	// Guarded by the hub:
	kinds uint64 // a bit for each kind that waits
	ended bool
}

// rouse has the stream look what has happened.
func (st *stream) rouse() { wake(st.wake) }

// finish ends the stream. The hub is locked.
func (st *stream) finish() {
	st.ended = true
	st.rouse()
}

// join opens a stream, and returns nil where there are too many. The caller
// leaves.
func (h *hub) join(account ledger.AccountID, device uint64, address string) *stream {
	remote, local := remoteOf(address)
	st := &stream{account: account, device: device, remote: remote, local: local, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	var oldest *stream
	own := 0
	for _, other := range h.byAccount[account] {
		if other.device == device {
			if own++; oldest == nil {
				oldest = other
			}
		}
	}
	if own >= streamsPerDevice {
		h.remove(oldest)
		oldest.finish()
	}
	if h.open >= maxStreams || !local && h.byRemote[remote] >= streamsPerRemote {
		return nil
	}
	if h.byAccount == nil {
		h.byAccount, h.byRemote = map[ledger.AccountID][]*stream{}, map[netip.Prefix]int{}
	}
	h.byAccount[account] = append(h.byAccount[account], st)
	h.byRemote[remote]++
	h.open++
	return st
}

// leave is what a stream does at its end, whoever ended it.
func (h *hub) leave(st *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(st)
}

func (h *hub) remove(st *stream) {
	streams := h.byAccount[st.account]
	for i, other := range streams {
		if other != st {
			continue
		}
		h.byAccount[st.account] = append(streams[:i:i], streams[i+1:]...)
		if len(streams) == 1 {
			delete(h.byAccount, st.account)
		}
		if h.byRemote[st.remote]--; h.byRemote[st.remote] == 0 {
			delete(h.byRemote, st.remote)
		}
		h.open--
		return
	}
}

// hint wakes an account's streams.
func (h *hub) hint(account ledger.AccountID, kinds uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wake(account, kinds)
}

// hintAll wakes all streams.
func (h *hub) hintAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for account := range h.byAccount {
		h.wake(account, everyKind)
	}
}

func (h *hub) wake(account ledger.AccountID, kinds uint64) {
	for _, st := range h.byAccount[account] {
		st.kinds |= kinds & everyKind
		wake(st.wake)
	}
}

// has says whether there are streams of an account.
func (h *hub) has(account ledger.AccountID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.byAccount[account]) > 0
}

// take returns the kinds that wait for a stream, in ascending order, and whether it
// has ended.
func (h *hub) take(st *stream) (kinds []apiv1.Hint_Kind, ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for kind := apiv1.Hint_Kind(1); st.kinds>>kind != 0; kind++ {
		if st.kinds>>kind&1 == 1 {
			kinds = append(kinds, kind)
		}
	}
	st.kinds = 0
	return kinds, st.ended
}

// close ends all streams, and lets none begin.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	for _, streams := range h.byAccount {
		for _, st := range streams {
			st.finish()
		}
	}
	h.byAccount, h.byRemote, h.open = nil, nil, 0
}

// count returns how many streams are open.
func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}
