// Package powerloss is a disk whose power can be cut, for tests.
//
// A [Disk] is mounted with FUSE. It keeps what was made durable apart from what
// programs see, and when its power is cut it keeps of the rest what chance leaves:
//
//   - Of a file, each sector of 512 bytes is as it was after any of the writes
//     since the last sync of that file, or as it was at that sync, whatever the
//     other sectors are; so writes are dropped, torn and reordered. Its size is any
//     that it had since.
//   - Of a directory, each name that was made, replaced or removed since the last
//     sync of that directory may be there or not; a rename may be undone, or leave
//     the old name as well. A sync of a file does not make its name durable.
//
// This is what POSIX allows, and more than ext4 or XFS do. Chance comes from a
// seed. It takes turns in how it is cruel: everything is lost, everything is kept,
// the first so many changes are kept, or each on its own. Modes and links that are
// symbolic are durable at once; locks are the kernel's; O_SYNC and O_DSYNC make
// each write durable; sync_file_range, sync and syncfs make nothing durable.
//
// A disk can also be full, and fail to sync once, after which it behaves as
// Linux's page cache does: what could not be written counts as written, is still
// read, and is gone after a power cut.
package powerloss
