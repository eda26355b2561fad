package sqlite

import (
	"context"
	"errors"
	"sync"
)

var errClosed = errors.New("sqlite: the store is closed")

// pool has connections, each of which somebody uses or nobody. They are opened when
// they are needed.
type pool struct {
	open    func() (*conn, error)
	places  chan struct{} // one in it for each connection in use
	closing chan struct{}

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(most int, open func() (*conn, error)) *pool {
	return &pool{open: open, places: make(chan struct{}, most), closing: make(chan struct{})}
}

// get returns a connection for the caller alone, who puts it back. It waits while all
// are in use.
func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.places <- struct{}{}:
	default:
		select {
		case p.places <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.closing:
			return nil, errClosed
		}
	}
	c, err := p.taken()
	if err != nil {
		<-p.places
		return nil, err
	}
	return c, nil
}

// taken returns a connection for which there is a place.
func (p *pool) taken() (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if last := len(p.idle) - 1; last >= 0 {
		c := p.idle[last]
		p.idle = p.idle[:last]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return p.open()
}

// put takes a connection back. One on which something still runs, or a transaction that
// could not be ended, is not used again.
func (p *pool) put(c *conn) error {
	defer func() { <-p.places }()
	if c.running > 0 || c.within() {
		return errors.Join(errLeft, c.close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
	return nil
}

var errLeft = errors.New("sqlite: rows or a transaction were left open")

// close waits for those who use connections, closes all, and opens no more.
func (p *pool) close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	close(p.closing)
	for range cap(p.places) {
		p.places <- struct{}{}
	}
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	return errors.Join(errs...)
}
