package powerloss

import (
	"math/rand/v2"
)

// sectorSize is what a disk writes whole or not at all, in bytes.
const sectorSize = 512

// file is the contents of a file, as programs see it and as the disk has it.
type file struct {
	data    []byte
	durable []byte
	sectors map[int64][]version // what each was since the last sync, oldest first
	sizes   []size              // what there were since the last sync
}

// version is what a sector was after a change.
type version struct {
	at   int // number of the change
	data [sectorSize]byte
}

type size struct {
	at, size int
}

func newFile() *file { return &file{sectors: map[int64][]version{}} }

// write writes at an offset, in change number at.
func (f *file) write(at int, offset int64, b []byte) {
	if len(b) == 0 {
		return
	}
	if end := int(offset) + len(b); end > len(f.data) {
		f.data = resize(f.data, end)
		f.sizes = append(f.sizes, size{at, end})
	}
	copy(f.data[offset:], b)
	f.note(at, offset, offset+int64(len(b)))
}

// truncate sets the size, in change number at.
func (f *file) truncate(at, to int) {
	was := len(f.data)
	if to == was {
		return
	}
	f.data = resize(f.data, to)
	f.sizes = append(f.sizes, size{at, to})
	if to < was {
		f.note(at, int64(to), int64(was))
	}
}

// note notes the sectors of a range as they are now.
func (f *file) note(at int, from, to int64) {
	for s := from / sectorSize; s*sectorSize < to; s++ {
		f.sectors[s] = append(f.sectors[s], version{at, sectorOf(f.data, s)})
	}
}

// sync makes all of it durable.
func (f *file) sync() {
	f.durable = resize(f.durable, len(f.data))
	for s := range f.sectors {
		now := sectorOf(f.data, s)
		f.durable = putSector(f.durable, s, now)
	}
	f.forget()
}

// failSync loses what chance takes, and forgets that it has to be written.
func (f *file) failSync(chance *rand.Rand) {
	f.durable = f.survivor(cruelty{chance: chance, how: each})
	f.forget()
}

func (f *file) forget() {
	clear(f.sectors)
	f.sizes = nil
}

// survivor is what the disk has after a power cut.
func (f *file) survivor(c cruelty) []byte {
	sizes := make([]int, len(f.sizes))
	for i, s := range f.sizes {
		sizes[i] = s.at
	}
	end := len(f.durable)
	if i := c.pick(sizes); i >= 0 {
		end = f.sizes[i].size
	}
	data := resize(append([]byte(nil), f.durable...), end)
	for _, s := range sortedKeys(f.sectors) {
		versions := f.sectors[s]
		changes := make([]int, len(versions))
		for i, v := range versions {
			changes[i] = v.at
		}
		if i := c.pick(changes); i >= 0 {
			data = putSector(data, s, versions[i].data)
		}
	}
	return data
}

// resize returns b with another length, zeros where it grew.
func resize(b []byte, n int) []byte {
	if n <= len(b) {
		clear(b[n:]) // it may grow again
		return b[:n]
	}
	return append(b, make([]byte, n-len(b))...)
}

// sectorOf returns a sector, zeros beyond the end.
func sectorOf(b []byte, s int64) (sector [sectorSize]byte) {
	if from := int(s * sectorSize); from < len(b) {
		copy(sector[:], b[from:])
	}
	return sector
}

// putSector writes a sector as far as the file goes.
func putSector(b []byte, s int64, sector [sectorSize]byte) []byte {
	if from := int(s * sectorSize); from < len(b) {
		copy(b[from:], sector[:])
	}
	return b
}
