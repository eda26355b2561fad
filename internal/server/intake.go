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
	// firstLarge are for remotes that have no other: those that have come and wait for
	// a place give no way.
	firstLarge = 64
	maxHeld    = 512 << 20
)

var (
	errBody      = errors.New("server: the body is too large")
	errSlowBody  = errors.New("server: the body does not come")
	errManyBytes = errors.New("server: too many large bodies")
)

// intake reads bodies.
type intake struct {
	mu       sync.Mutex
	coming   list.List // of *body, the oldest first
	held     int64     // bytes of bodies over smallRequest
	most     int64     // of them; maxHeld if it is 0
	large    int
	byRemote map[netip.Prefix]int // large ones
}

// read reads a body of at most limit bytes. The caller releases it.
func (in *intake) read(w http.ResponseWriter, r *http.Request, limit int64) (*body, error) {
	if r.ContentLength > limit {
		return nil, errBody
	}
	controller := http.NewResponseController(w)
	b := &body{intake: in, remote: r.RemoteAddr, stop: func() { _ = controller.SetReadDeadline(time.Unix(1, 0)) }}
	if r.ContentLength == 0 {
		return b, nil
	}
	in.begin(b)
	slow := time.AfterFunc(pieceTime, b.stop)
	err := b.fill(r.Body, r.ContentLength, limit, func() { slow.Reset(pieceTime) })
	if stopped := in.end(b); !slow.Stop() || stopped {
		err = errSlowBody
	}
	if err != nil {
		b.release()
		return nil, err
	}
	return b, nil
}

func (in *intake) begin(b *body) {
	in.mu.Lock()
	b.at = in.coming.PushBack(b)
	var oldest *body
	if in.coming.Len() > maxReading {
		oldest = in.coming.Front().Value.(*body)
		in.giveUp(oldest)
	}
	in.mu.Unlock()
	if oldest != nil {
		oldest.stop()
	}
}

// giveUp takes a body out of those that come, and counts it no longer. The lock is
// held; the caller stops it when the lock is not held any more.
func (in *intake) giveUp(b *body) {
	in.coming.Remove(b.at)
	b.stopped = true
	in.forget(b)
}

func (in *intake) end(b *body) (stopped bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.coming.Remove(b.at) // does nothing where it was given up
	return b.stopped
}

// body is a request's body in memory, which is given back as it is read.
type body struct {
	intake *intake
	remote string // address
	stop   func() // ends it while it comes
	pieces [][]byte
	size   int64

	// Guarded by the intake:
	at      *list.Element
	stopped bool  // it is not wanted any more, although some of it may still come
	held    int64 // of its size, as it is counted
	isLarge bool
}

// fill reads all of it. length is what it claims, -1 if it claims nothing.
func (b *body) fill(from io.Reader, length, limit int64, more func()) error {
	next := int64(pieceSize)
	for piece := int64(4 << 10); length < 0 || b.size < length; piece = smallRequest {
		if length >= 0 {
			piece = min(length-b.size, smallRequest)
		}
		buffer := make([]byte, piece)
		n, err := readPiece(from, buffer)
		if b.size += int64(n); b.size > limit {
			return errBody
		}
		if n > 0 {
			b.pieces = append(b.pieces, buffer[:n])
		}
		if b.size >= smallRequest && !b.hold() {
			return errManyBytes
		}
		switch {
		case errors.Is(err, io.EOF) && b.size < length:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if b.size >= next {
			next += pieceSize
			more()
		}
	}
	return nil
}

// readPiece fills a buffer, or as much of it as there is. Other than [io.ReadFull] it
// does not take a body that has ended for one that has broken off.
func readPiece(from io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var more int
		more, err = from.Read(buffer[n:])
		n += more
	}
	return n, err
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
	if b.stopped {
		return false
	}
	makeRoom := func(size func(*body) int64, more int64) bool {
		end := in.makeRoom(remote, size, more)
		if end != nil {
			stop = append(stop, end)
		}
		return end != nil
	}
	if !b.isLarge {
		one := func(*body) int64 { return 1 }
		if !local && in.byRemote[remote] >= largeRemote {
			return false
		}
		isFirst := in.byRemote[remote] == 0 && in.large < maxLarge+firstLarge
		if in.large >= maxLarge && !makeRoom(one, 1) && !isFirst {
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
	for e := in.coming.Front(); e != nil; e = e.Next() {
		if b := e.Value.(*body); b.isLarge {
			other, _ := remoteOf(b.remote)
			if coming[other] += size(b); coming[other] > coming[most] {
				most = other
			}
		}
	}
	if coming[most] <= coming[remote]+more {
		return nil
	}
	for e := in.coming.Front(); e != nil; e = e.Next() {
		b := e.Value.(*body)
		if other, _ := remoteOf(b.remote); b.isLarge && other == most {
			in.giveUp(b)
			return b.stop
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
