package server

import (
	"cmp"
	"container/list"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Limits of bodies while they come. A client that is slow holds up nobody else: it
// has no place among the requests that are worked on before its body is there.
const (
	smallRequest = 64 << 10 // most are smaller; others are bulk work
	// pieceTime is how long each pieceSize of a body, or the rest of it, may take.
	pieceTime = 10 * time.Second
	pieceSize = 256 << 10

	maxReading  = 4096 // bodies that come; one more ends the one that has come the longest
	maxLarge    = 64   // bodies over smallRequest that come or are worked on
	largeRemote = 8    // of one remote; this machine is exempt, as in limits.go
	maxHeld     = 512 << 20
)

var (
	errBody      = errors.New("server: the body is too large")
	errSlowBody  = errors.New("server: the body does not come")
	errManyBytes = errors.New("server: too many large bodies")
)

// intake reads bodies.
type intake struct {
	mu       sync.Mutex
	readers  list.List // of *reader, the oldest first
	held     int64     // bytes of bodies over smallRequest
	most     int64     // of them; maxHeld if it is 0
	large    int
	byRemote map[netip.Prefix]int // large ones
}

// reader is one body that comes.
type reader struct {
	body    *body
	stop    func() // ends it
	stopped bool
}

// read reads a body of at most limit bytes. The caller releases it.
func (in *intake) read(w http.ResponseWriter, r *http.Request, limit int64) (*body, error) {
	if r.ContentLength > limit {
		return nil, errBody
	}
	b := &body{intake: in, remote: r.RemoteAddr}
	if r.ContentLength == 0 {
		return b, nil
	}
	controller := http.NewResponseController(w)
	stop := func() { _ = controller.SetReadDeadline(time.Unix(1, 0)) }
	at := in.begin(b, stop)
	slow := time.AfterFunc(pieceTime, stop)
	err := b.fill(r.Body, r.ContentLength, limit, func() { slow.Reset(pieceTime) })
	if stopped := in.end(at); !slow.Stop() || stopped {
		err = errSlowBody
	}
	if err != nil {
		b.release()
		return nil, err
	}
	return b, nil
}

func (in *intake) begin(b *body, stop func()) *list.Element {
	in.mu.Lock()
	at := in.readers.PushBack(&reader{body: b, stop: stop})
	var oldest *reader
	if in.readers.Len() > maxReading {
		oldest = in.readers.Remove(in.readers.Front()).(*reader)
		oldest.stopped = true
	}
	in.mu.Unlock()
	if oldest != nil {
		oldest.stop()
	}
	return at
}

func (in *intake) end(at *list.Element) (stopped bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	r := at.Value.(*reader)
	if !r.stopped {
		in.readers.Remove(at)
	}
	return r.stopped
}

// body is a request's body in memory, which is given back as it is read.
type body struct {
	intake  *intake
	remote  string // address
	pieces  [][]byte
	size    int64
	held    int64
	isLarge bool
}

// fill reads all of it. length is what it claims, -1 if it claims nothing.
func (b *body) fill(from io.Reader, length, limit int64, more func()) error {
	piece := int64(4 << 10)
	if length >= 0 {
		piece = min(length, smallRequest)
	}
	next := int64(pieceSize)
	for length < 0 || b.size < length {
		if length >= 0 {
			piece = min(length-b.size, smallRequest)
		}
		buffer := make([]byte, piece)
		n, err := io.ReadFull(from, buffer)
		if b.size += int64(n); b.size > limit {
			return errBody
		}
		if n > 0 {
			b.pieces = append(b.pieces, buffer[:n])
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && length < 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if b.size >= next {
			next += pieceSize
			more()
		}
		piece = smallRequest
		if b.size >= smallRequest && !b.hold() {
			return errManyBytes
		}
	}
	return nil
}

// hold counts a body that is large, and says whether there is room for it. Where
// there is none, those who have most give way.
func (b *body) hold() bool {
	remote, local := remoteOf(b.remote)
	in := b.intake
	var stop []func()
	defer func() {
		for _, end := range stop {
			end()
		}
	}()
	in.mu.Lock()
	defer in.mu.Unlock()
	makeRoom := func(size func(*body) int64, more int64) bool {
		end := in.makeRoom(remote, size, more)
		if end != nil {
			stop = append(stop, end)
		}
		return end != nil
	}
	if !b.isLarge {
		one := func(*body) int64 { return 1 }
		if !local && in.byRemote[remote] >= largeRemote || in.large >= maxLarge && !makeRoom(one, 1) {
			return false
		}
		if in.byRemote == nil {
			in.byRemote = map[netip.Prefix]int{}
		}
		b.isLarge = true
		in.large++
		in.byRemote[remote]++
	}
	more := b.size - b.held
	for in.held+more > cmp.Or(in.most, maxHeld) {
		if !makeRoom(func(b *body) int64 { return b.held }, more) {
			return false
		}
	}
	in.held += more
	b.held += more
	return true
}

// makeRoom makes room for more of a remote's large bodies: of the remote that has
// most of them coming, in size, it ends the one that has come the longest. It returns
// what does so, for when the lock is not held any more, or nil if this remote would
// have as much as that one then.
func (in *intake) makeRoom(remote netip.Prefix, size func(*body) int64, more int64) (stop func()) {
	var most netip.Prefix
	coming := map[netip.Prefix]int64{}
	for e := in.readers.Front(); e != nil; e = e.Next() {
		if b := e.Value.(*reader).body; b.isLarge {
			other, _ := remoteOf(b.remote)
			if coming[other] += size(b); coming[other] > coming[most] {
				most = other
			}
		}
	}
	if coming[most] <= coming[remote]+more {
		return nil
	}
	for e := in.readers.Front(); e != nil; e = e.Next() {
		r := e.Value.(*reader)
		if other, _ := remoteOf(r.body.remote); r.body.isLarge && other == most {
			r.stopped = true
			in.readers.Remove(e)
			in.forget(r.body)
			return r.stop
		}
	}
	return nil
}

// release says that the body is needed no longer.
func (b *body) release() {
	b.pieces = nil
	b.intake.mu.Lock()
	defer b.intake.mu.Unlock()
	b.intake.forget(b)
}

// forget counts a large body no longer. The lock is held.
func (in *intake) forget(b *body) {
	if !b.isLarge {
		return
	}
	remote, _ := remoteOf(b.remote)
	in.held -= b.held
	in.large--
	if in.byRemote[remote]--; in.byRemote[remote] == 0 {
		delete(in.byRemote, remote)
	}
	b.isLarge, b.held = false, 0
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if len(b.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.pieces[0])
	if b.pieces[0] = b.pieces[0][n:]; len(b.pieces[0]) == 0 {
		b.pieces[0] = nil
		b.pieces = b.pieces[1:]
	}
	return n, nil
}

// Close implements [io.Closer].
func (b *body) Close() error { return nil }
