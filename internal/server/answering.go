package server

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Limits of answers while they leave.
const (
	answerTime   = 20 * time.Second // that any answer may take
	answerRate   = 32 << 10         // bytes a second that a large one leaves with
	maxAnswers   = 256 << 20        // bytes of large ones that leave
	answerRemote = 64 << 20         // to one remote; this machine is exempt, as in limits.go
)

// answering bounds the bytes of large answers that leave: whoever does not read what
// he asked for holds memory, and nothing else.
type answering struct {
	mu       sync.Mutex
	held     int64
	byRemote map[netip.Prefix]int64
}

// hold counts an answer, and returns false if there are too many.
func (a *answering) hold(remote netip.Prefix, local bool, size int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held+size > maxAnswers || !local && a.byRemote[remote] > 0 && a.byRemote[remote]+size > answerRemote {
		return false
	}
	if a.byRemote == nil {
		a.byRemote = map[netip.Prefix]int64{}
	}
	a.held += size
	a.byRemote[remote] += size
	return true
}

func (a *answering) release(remote netip.Prefix, size int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held -= size
	if a.byRemote[remote] -= size; a.byRemote[remote] == 0 {
		delete(a.byRemote, remote)
	}
}

// answer is where one answer is written. It leaves within a time that fits its size.
type answer struct {
	http.ResponseWriter
	of      *answering
	address string
	refuse  func(http.ResponseWriter) // in place of what is too much
	begun   bool
	refused bool
}

var errManyAnswers = errors.New("server: too many large answers leave")

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	a.begun = true
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(answerTime))
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) {
	if a.refused {
		return len(b), nil
	}
	size := int64(len(b))
	if size > smallRequest {
		remote, local := remoteOf(a.address)
		if !a.of.hold(remote, local, size) {
			if a.begun {
				return 0, errManyAnswers
			}
			a.refused = true
			clear(a.Header())
			a.refuse(a.ResponseWriter)
			return len(b), nil
		}
		defer a.of.release(remote, size)
	}
	if !a.begun || size > smallRequest {
		a.begun = true
		_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(answerTime + time.Duration(size/answerRate)*time.Second))
	}
	return a.ResponseWriter.Write(b)
}

// Flush implements [http.Flusher].
func (a *answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
