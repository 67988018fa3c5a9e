package tidemark;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.RemoteFileChangedException;

/**
 * A Delta log on S3 in which every version is created by one conditional put.
 *
 * <p>Invariant: of all drivers that write one version, in any JVM, exactly one is told that it succeeded, and the bytes in the store are its bytes. Delta's
 * own S3 log store locks within one JVM only, so two drivers can both be told that they wrote a version, and one of them has lost it.
 *
 * <p>The store must honour {@code If-None-Match: *} on a put. {@code fs.option.create.conditional.overwrite} is what makes S3A send it; S3A's plain
 * {@code create(path, overwrite = false)} only looks whether the object exists first.
 *
 * <p>Set by {@code spark.delta.logStore.s3a.impl=tidemark.ConditionalS3LogStore}.
 */
public class ConditionalS3LogStore extends HadoopFileSystemLogStore {

  private static final String IF_NONE_MATCH = "fs.option.create.conditional.overwrite";

  public ConditionalS3LogStore(Configuration configuration) {
    super(configuration);
  }

  /**
   * Writes one action a line. Without {@code overwrite}, throws {@link FileAlreadyExistsException} if another writer holds this version.
   *
   * <p>A put whose reply was lost is sent again by the S3 client and then meets its own object. That version is ours: to report it as another's would make
   * Delta commit the same rows once more, one version later. Delta gives each commit a random id, so equal bytes are proof.
   */
  @Override
  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration configuration) throws IOException {
    FileSystem store = path.getFileSystem(configuration);
    MessageDigest written = sha256();
    FSDataOutputStream stream = open(store, path, overwrite);
    try {
      DigestOutputStream out = new DigestOutputStream(stream, written);
      while (actions.hasNext()) {
        out.write((actions.next() + "\n").getBytes(StandardCharsets.UTF_8));
      }
    } catch (Throwable failure) {
      stream.abort(); // close() would publish half a commit
      throw failure;
    }
    try {
      stream.close(); // this is the put
    } catch (RemoteFileChangedException exists) {
      if (!MessageDigest.isEqual(written.digest(), digest(store, path))) {
        throw (IOException) new FileAlreadyExistsException(path.toString()).initCause(exists);
      }
    }
  }

  /** An S3 object appears whole or not at all. */
  @Override
  public Boolean isPartialWriteVisible(Path path, Configuration configuration) {
    return false;
  }

  private static FSDataOutputStream open(FileSystem store, Path path, boolean overwrite) throws IOException {
    FSDataOutputStreamBuilder<?, ?> builder = store.createFile(path).overwrite(overwrite).recursive();
    if (!overwrite) {
      builder.must(IF_NONE_MATCH, true);
    }
    return (FSDataOutputStream) builder.build();
  }

  private static byte[] digest(FileSystem store, Path path) throws IOException {
    MessageDigest digest = sha256();
    byte[] chunk = new byte[1 << 16];
    try (FSDataInputStream in = store.open(path)) {
      for (int n = in.read(chunk); n >= 0; n = in.read(chunk)) {
        digest.update(chunk, 0, n);
      }
    }
    return digest.digest();
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException("every Java platform must have SHA-256", impossible);
    }
  }
}
