package powerloss

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// root is the number of the directory that is mounted.
const root = 1

// Disk is a file system in memory. Its methods may be called while it is mounted.
type Disk struct {
	mu      sync.Mutex
	seed    uint64
	nodes   map[uint64]*node
	last    uint64    // number of the newest node
	pending []*naming // changes of names that are not durable, oldest first
	changes int       // how many there were
	since   int       // the first that may not be durable: when the disk was made
	dead    bool      // there is no power any more

	cutAt    int    // the change at which the power goes, 0 for none
	onCut    func() // called then
	failAt   int    // the sync that fails, 0 for none
	syncs    int    // how many there were
	noRoom   bool
	refusals int // changes that were refused for want of room
}

// node is a file, a directory or a symbolic link.
type node struct {
	number   uint64
	mode     uint32 // kind and permissions, as in stat(2)
	uid, gid uint32
	changed  time.Time
	file     *file             // of a file
	names    map[string]uint64 // of a directory, as programs see it
	durable  map[string]uint64 // of a directory, as the disk has it
	target   string            // of a symbolic link
}

// naming is one change of names: each becomes a node, or nothing.
type naming struct {
	at    int
	names []name // of a rename, the new one is first
}

type name struct {
	directory uint64
	name      string
	node      uint64 // 0 for nothing
}

// New returns an empty disk. All that chance decides comes from the seed.
func New(seed uint64) *Disk {
	d := &Disk{seed: seed, nodes: map[uint64]*node{}}
	d.add(syscall.S_IFDIR|0o755, uint32(syscall.Getuid()), uint32(syscall.Getgid()))
	return d
}

func (d *Disk) add(mode, uid, gid uint32) *node {
	d.last++
	n := &node{number: d.last, mode: mode, uid: uid, gid: gid, changed: time.Now()}
	switch mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		n.names, n.durable = map[string]uint64{}, map[string]uint64{}
	case syscall.S_IFREG:
		n.file = newFile()
	}
	d.nodes[n.number] = n
	return n
}

// CutAfter cuts the power at the nth change from now: a write, a change of names
// or a sync, which the disk has seen and has not made durable. do is called then,
// before the change is answered; it ends whoever uses the disk, which from then on
// answers everything with EIO.
func (d *Disk) CutAfter(n int, do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt, d.onCut = d.changes+n, do
}

// Cut cuts the power now, if there is some.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

// IsCut says whether the power was cut.
func (d *Disk) IsCut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// FailSync makes the nth sync from now fail with EIO, once. Of what it was to make
// durable chance takes some, which no later sync writes.
func (d *Disk) FailSync(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt = d.syncs + n
}

// SetFull makes the disk full, or gives it room again.
func (d *Disk) SetFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.noRoom = full
}

// Refusals returns how many changes were refused because the disk was full.
func (d *Disk) Refusals() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refusals
}

// change begins a change. It returns EIO without power, and ENOSPC for what takes
// room on a full disk.
func (d *Disk) change(room bool) syscall.Errno {
	if d.dead {
		return syscall.EIO
	}
	if room && d.noRoom {
		d.refusals++
		return syscall.ENOSPC
	}
	d.changes++
	return 0
}

// changed ends a change, and cuts the power if it was the one.
func (d *Disk) changed() syscall.Errno {
	if d.cutAt == 0 || d.changes < d.cutAt {
		return 0
	}
	d.dead = true
	if do := d.onCut; do != nil {
		d.onCut = nil
		do()
	}
	return syscall.EIO
}

// rename makes a change of names, which programs see at once.
func (d *Disk) rename(names ...name) syscall.Errno {
	d.pending = append(d.pending, &naming{d.changes, names})
	for _, n := range names {
		setName(d.nodes[n.directory].names, n)
		d.nodes[n.directory].changed = time.Now()
	}
	return d.changed()
}

func setName(names map[string]uint64, n name) {
	if n.node == 0 {
		delete(names, n.name)
		return
	}
	names[n.name] = n.node
}

// sync makes a file's contents or a directory's names durable.
func (d *Disk) sync(n *node) syscall.Errno {
	if failed := d.change(false); failed != 0 {
		return failed
	}
	if failed := d.changed(); failed != 0 {
		return failed
	}
	if d.syncs++; d.syncs == d.failAt {
		if n.file != nil {
			n.file.failSync(d.chance())
		}
		return syscall.EIO
	}
	if n.file != nil {
		n.file.sync()
	} else if n.names != nil {
		d.syncNames(n.number)
	}
	return 0
}

// syncNames makes the changes of names in a directory durable. A change that
// touches two directories is one, so what came before it in the other is durable
// as well.
func (d *Disk) syncNames(directory uint64) {
	directories := map[uint64]bool{directory: true}
	for grown := true; grown; {
		grown = false
		for _, p := range d.pending {
			touches := slices.ContainsFunc(p.names, func(n name) bool { return directories[n.directory] })
			for _, n := range p.names {
				if touches && !directories[n.directory] {
					directories[n.directory], grown = true, true
				}
			}
		}
	}
	d.pending = slices.DeleteFunc(d.pending, func(p *naming) bool {
		if !directories[p.names[0].directory] {
			return false
		}
		for _, n := range p.names {
			setName(d.nodes[n.directory].durable, n)
		}
		return true
	})
}

// chance is another sequence at each change.
func (d *Disk) chance() *rand.Rand { return rand.New(rand.NewPCG(d.seed, uint64(d.changes))) }

// AfterPowerCut returns the disk as it is when the power is back, and in words how
// cruel the cut was. The old one must not be mounted any more.
func (d *Disk) AfterPowerCut() (*Disk, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	c := newCruelty(d.chance(), d.since, d.changes)
	for _, p := range d.pending {
		for _, n := range p.names {
			// A name that is gone before the other is there would be neither file: no
			// file system does that to a rename.
			if !c.keeps(p.at) {
				break
			}
			setName(d.nodes[n.directory].durable, n)
		}
	}
	next := &Disk{seed: d.seed + 1, nodes: map[uint64]*node{}, last: d.last, changes: d.changes, since: d.changes}
	d.keep(next, root, c)
	lost := len(d.pending)
	return next, fmt.Sprintf("seed %d, change %d: %v; %d changes of names were not synced", d.seed, d.changes, c.how, lost)
}

// keep takes what the disk has of a node into another disk.
func (d *Disk) keep(to *Disk, number uint64, c cruelty) {
	if to.nodes[number] != nil {
		return
	}
	n := d.nodes[number]
	kept := &node{number: n.number, mode: n.mode, uid: n.uid, gid: n.gid, changed: n.changed, target: n.target}
	to.nodes[number] = kept
	if n.file != nil {
		survivor := n.file.survivor(c)
		kept.file = newFile()
		kept.file.data, kept.file.durable = survivor, append([]byte(nil), survivor...)
	}
	if n.durable == nil {
		return
	}
	kept.names, kept.durable = map[string]uint64{}, map[string]uint64{}
	for _, name := range sortedKeys(n.durable) {
		child := n.durable[name]
		kept.names[name], kept.durable[name] = child, child
		d.keep(to, child, c)
	}
}

// links returns how many names a node has.
func (d *Disk) links(n *node) uint32 {
	if n.names != nil {
		return 2
	}
	var links uint32
	for _, other := range d.nodes {
		for _, number := range other.names {
			if number == n.number {
				links++
			}
		}
	}
	return links
}

// SyncAll makes everything durable, as a clean shutdown does.
func (d *Disk) SyncAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.nodes {
		if n.file != nil {
			n.file.sync()
		}
	}
	for _, p := range d.pending {
		for _, n := range p.names {
			setName(d.nodes[n.directory].durable, n)
		}
	}
	d.pending, d.since = nil, d.changes
}
