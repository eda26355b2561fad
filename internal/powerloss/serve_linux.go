package powerloss

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// served answers the kernel for a disk.
type served struct {
	fuse.RawFileSystem // answers ENOSYS to the rest
	disk               *Disk

	handles  uint64
	listings map[uint64][]fuse.DirEntry // of directories that are open
}

func (s *served) String() string { return "powerloss" }

func (s *served) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const blocks = 1 << 20
	*out = fuse.StatfsOut{Blocks: blocks, Bfree: blocks, Bavail: blocks, Files: blocks, Ffree: blocks, Bsize: 4096, Frsize: 4096, NameLen: 255}
	return fuse.OK
}

func (s *served) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

// Files are written through, so there is nothing to do when one is closed.
func (s *served) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// node returns one that the kernel knows, if there is power.
func (s *served) node(number uint64) (*node, fuse.Status) {
	if s.disk.dead {
		return nil, fuse.EIO
	}
	n := s.disk.nodes[number]
	if n == nil {
		return nil, fuse.ENOENT
	}
	return n, fuse.OK
}

// child returns what a directory has under a name.
func (s *served) child(directory uint64, name string) (parent, child *node, status fuse.Status) {
	parent, status = s.node(directory)
	if !status.Ok() {
		return nil, nil, status
	}
	return parent, s.disk.nodes[parent.names[name]], fuse.OK
}

func (s *served) fill(out *fuse.Attr, n *node) {
	*out = fuse.Attr{Ino: n.number, Mode: n.mode, Nlink: s.disk.links(n), Owner: fuse.Owner{Uid: n.uid, Gid: n.gid}, Blksize: 4096}
	if n.file != nil {
		out.Size = uint64(len(n.file.data))
		out.Blocks = (out.Size + sectorSize - 1) / sectorSize
	}
	out.SetTimes(nil, &n.changed, &n.changed)
}

func (s *served) entry(out *fuse.EntryOut, n *node) {
	*out = fuse.EntryOut{NodeId: n.number}
	s.fill(&out.Attr, n)
	out.SetEntryTimeout(forGood)
	out.SetAttrTimeout(forGood)
}

func (s *served) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	_, child, status := s.child(in.NodeId, name)
	if !status.Ok() {
		return status
	}
	if child == nil {
		return fuse.ENOENT
	}
	s.entry(out, child)
	return fuse.OK
}

func (s *served) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if status.Ok() {
		s.fill(&out.Attr, n)
		out.SetTimeout(forGood)
	}
	return status
}

func (s *served) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if !status.Ok() {
		return status
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode&07777
	}
	if uid, ok := in.GetUID(); ok {
		n.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.gid = gid
	}
	if mtime, ok := in.GetMTime(); ok {
		n.changed = mtime
	}
	if to, ok := in.GetSize(); ok && n.file != nil {
		if failed := s.truncate(n, int(to)); failed != 0 {
			return fuse.Status(failed)
		}
	}
	s.fill(&out.Attr, n)
	out.SetTimeout(forGood)
	return fuse.OK
}

func (s *served) truncate(n *node, to int) syscall.Errno {
	if failed := s.disk.change(to > len(n.file.data)); failed != 0 {
		return failed
	}
	n.file.truncate(s.disk.changes, to)
	n.changed = time.Now()
	return s.disk.changed()
}

// make makes a node under a name that is free.
func (s *served) make(in *fuse.InHeader, called string, mode uint32, out *fuse.EntryOut) (*node, fuse.Status) {
	parent, child, status := s.child(in.NodeId, called)
	if !status.Ok() {
		return nil, status
	}
	if child != nil {
		return nil, fuse.Status(syscall.EEXIST)
	}
	if failed := s.disk.change(true); failed != 0 {
		return nil, fuse.Status(failed)
	}
	n := s.disk.add(mode, in.Uid, in.Gid)
	if failed := s.disk.rename(name{parent.number, called, n.number}); failed != 0 {
		return nil, fuse.Status(failed)
	}
	s.entry(out, n)
	return n, fuse.OK
}

func (s *served) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	_, status := s.make(&in.InHeader, name, syscall.S_IFREG|in.Mode&07777, &out.EntryOut)
	return status
}

// Tmpfile makes a file without a name, which may be linked to one.
func (s *served) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if _, status := s.node(in.NodeId); !status.Ok() {
		return status
	}
	if failed := s.disk.change(true); failed != 0 {
		return fuse.Status(failed)
	}
	s.entry(&out.EntryOut, s.disk.add(syscall.S_IFREG|in.Mode&07777, in.Uid, in.Gid))
	return fuse.Status(s.disk.changed())
}

func (s *served) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	_, status := s.make(&in.InHeader, name, in.Mode, out) // a socket, for one
	return status
}

func (s *served) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	_, status := s.make(&in.InHeader, name, syscall.S_IFDIR|in.Mode&07777, out)
	return status
}

func (s *served) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.make(in, name, syscall.S_IFLNK|0o777, out)
	if status.Ok() {
		n.target = target
	}
	return status
}

func (s *served) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if !status.Ok() {
		return nil, status
	}
	return []byte(n.target), fuse.OK
}

func (s *served) Link(_ <-chan struct{}, in *fuse.LinkIn, called string, out *fuse.EntryOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	parent, child, status := s.child(in.NodeId, called)
	if !status.Ok() {
		return status
	}
	n, status := s.node(in.Oldnodeid)
	switch {
	case !status.Ok():
		return status
	case child != nil:
		return fuse.Status(syscall.EEXIST)
	}
	failed := s.disk.change(true)
	if failed == 0 {
		failed = s.disk.rename(name{parent.number, called, n.number})
	}
	if failed == 0 {
		s.entry(out, n)
	}
	return fuse.Status(failed)
}

func (s *served) Unlink(_ <-chan struct{}, in *fuse.InHeader, called string) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return s.remove(in.NodeId, called)
}

func (s *served) Rmdir(_ <-chan struct{}, in *fuse.InHeader, called string) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if _, child, status := s.child(in.NodeId, called); status.Ok() && child != nil && len(child.names) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	return s.remove(in.NodeId, called)
}

func (s *served) remove(directory uint64, called string) fuse.Status {
	parent, child, status := s.child(directory, called)
	switch {
	case !status.Ok():
		return status
	case child == nil:
		return fuse.ENOENT
	}
	failed := s.disk.change(false)
	if failed == 0 {
		failed = s.disk.rename(name{parent.number, called, 0})
	}
	return fuse.Status(failed)
}

func (s *served) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	parent, child, status := s.child(in.NodeId, from)
	if !status.Ok() {
		return status
	}
	newParent, replaced, status := s.child(in.Newdir, to)
	const noReplace = 1 // RENAME_NOREPLACE
	switch {
	case !status.Ok():
		return status
	case child == nil:
		return fuse.ENOENT
	case in.Flags&^noReplace != 0:
		return fuse.EINVAL
	case replaced != nil && in.Flags == noReplace:
		return fuse.Status(syscall.EEXIST)
	case replaced != nil && len(replaced.names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	case replaced == child:
		return fuse.OK
	}
	failed := s.disk.change(false)
	if failed == 0 {
		failed = s.disk.rename(name{newParent.number, to, child.number}, name{parent.number, from, 0})
	}
	return fuse.Status(failed)
}

func (s *served) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if !status.Ok() {
		return status
	}
	if in.Flags&syscall.O_TRUNC != 0 && n.file != nil && len(n.file.data) > 0 {
		if failed := s.truncate(n, 0); failed != 0 {
			return fuse.Status(failed)
		}
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

func (s *served) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if !status.Ok() {
		return nil, status
	}
	if in.Offset >= uint64(len(n.file.data)) {
		return fuse.ReadResultData(nil), fuse.OK
	}
	return fuse.ReadResultData(buf[:copy(buf, n.file.data[in.Offset:])]), fuse.OK
}

func (s *served) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if !status.Ok() {
		return 0, status
	}
	if failed := s.disk.change(true); failed != 0 {
		return 0, fuse.Status(failed)
	}
	n.file.write(s.disk.changes, int64(in.Offset), data)
	n.changed = time.Now()
	failed := s.disk.changed()
	if failed == 0 && in.Flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0 {
		failed = s.disk.sync(n)
	}
	if failed != 0 {
		return 0, fuse.Status(failed)
	}
	return uint32(len(data)), fuse.OK
}

func (s *served) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if !status.Ok() {
		return status
	}
	return fuse.Status(s.disk.sync(n))
}

func (s *served) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.Fsync(cancel, in)
}

// OpenDir gives what is there now, so that what changes meanwhile moves nothing.
func (s *served) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	n, status := s.node(in.NodeId)
	if !status.Ok() {
		return status
	}
	if n.names == nil {
		return fuse.ENOTDIR
	}
	s.handles++
	out.Fh = s.handles
	for i, called := range sortedKeys(n.names) {
		child := s.disk.nodes[n.names[called]]
		s.listings[out.Fh] = append(s.listings[out.Fh], fuse.DirEntry{Name: called, Mode: child.mode, Ino: child.number, Off: uint64(i) + 1})
	}
	return fuse.OK
}

func (s *served) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if _, status := s.node(in.NodeId); !status.Ok() {
		return status
	}
	listing := s.listings[in.Fh]
	for i := int(in.Offset); i < len(listing) && out.AddDirEntry(listing[i]); i++ {
	}
	return fuse.OK
}

func (s *served) ReleaseDir(in *fuse.ReleaseIn) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	delete(s.listings, in.Fh)
}
