//! Every reason for which the tap does less than it should.
//!
//! Each has a counter in the ring file, in the order of this table, and a name in reports. A new kind
//! goes to the end.

macro_rules! faults {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal;)*) => {
        /// One kind of trouble.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Fault { $($(#[doc = $meaning])+ $variant,)* }

        impl Fault {
            /// Every kind, in the order in which the ring file has the counts.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

faults! {
    /// A setting had a value that could not be used; its default is in force.
    SettingRefused = "setting_refused";
    /// No ring file could be made: the rings are in memory of their own, and what a killed process had
    /// not sent is lost.
    NoRingFile = "no_ring_file";
    /// The file system that holds the rings had no room for one more.
    NoRoom = "no_room";
    /// More threads called NCCL at once than there are rings.
    NoRing = "no_ring";
    /// The drain thread could not be started: records stay in the ring file.
    NoThread = "no_thread";
    /// A call entered the tap while another call of the same thread was still in it.
    NestedCall = "nested_call";
    /// A call came through a linkage table and no NCCL could be found behind it.
    NoLibrary = "no_library";
    /// More copies of NCCL than can be told apart: the calls of the last ones are not recorded.
    TooManyLibraries = "too_many_libraries";
    /// More communicators than can be described in one process.
    TooManyCommunicators = "too_many_communicators";
    /// Calls on a communicator before the tap came to life in this process.
    BeforeStart = "before_start";
    /// A panic inside the tap, caught.
    Panic = "panic";
    /// The collector refused the stream.
    Refused = "refused";
    /// The stream to the collector broke and was opened anew.
    Reconnect = "reconnect";
    /// The socket of the collector belongs to another user.
    ForeignCollector = "foreign_collector";
    /// The host closed descriptors that were the tap's: nothing is sent any more.
    DescriptorsClosed = "descriptors_closed";
    /// A caller could not be told apart from callers of another copy of NCCL, and neither could its
    /// communicator.
    AmbiguousCaller = "ambiguous_caller";
    /// `libnccltap_uplink.so` is not beside `libnccltap.so`, cannot be loaded or is of another version:
    /// nothing is sent, and records stay in the ring file.
    NoUplink = "no_uplink";
    /// More different graphs than can be described in one process: launches of the others are counted,
    /// and not what they carry out.
    TooManyManifests = "too_many_manifests";
    /// More graphs or executables alive at once than can be followed.
    TooManyGraphs = "too_many_graphs";
    /// A graph was launched that the tap did not see being made.
    UnknownExecutable = "unknown_executable";
    /// An operation went to a capture that the tap did not see begin, or cannot tell from others.
    UnknownCapture = "unknown_capture";
    /// A caller was given a function of the CUDA driver for graphs that the tap has no wrapper for: what it
    /// captures and launches by that is not seen.
    DriverGraphs = "driver_graphs";
    /// A node that holds a graph was changed, and it is not known in which graph it is: what that graph holds is
    /// not known any more, or counted as it was.
    UnknownNode = "unknown_node";
    /// More kernels that move data between GPUs than can be told apart: launches of the others are not seen.
    TooManyKernels = "too_many_kernels";
}

const _: () = assert!(Fault::ALL.len() <= crate::ringfile::FAULTS);
