import com.clickhouse.data.ClickHouseCityHash;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;

/** Asks with ClickHouse's JDBC driver and prints what it found as JSON. Arguments: address, key. */
public class Reader {
  private static final Map<String, Object> found = new LinkedHashMap<>();
  private static final String LONG = "SELECT sum(cityHash64(number)) FROM numbers(100000000000)";
  private static Connection watcher;

  @SuppressWarnings("deprecation")
  public static void main(String[] arguments) throws Exception {
    String url = "jdbc:clickhouse://" + arguments[0] + "/default";
    for (String mode : List.of("", "?compress=false", "?client.use_http_compression=true"))
      try (Connection connection = connect(url + mode, arguments[1]); Statement statement = connection.createStatement()) {
        found.put("sum" + mode, one(statement, "SELECT sum(length(toString(number))) FROM (SELECT number FROM numbers(200000))"));
        long characters = 0;
        try (ResultSet rows = statement.executeQuery("SELECT repeat(toString(number), 1 + number % 40) FROM numbers(20000)")) {
          while (rows.next()) characters += rows.getString(1).length();
        }
        found.put("characters" + mode, characters);
      }
    List<Object> hashes = new ArrayList<>();
    for (int length = 0; length < 300; length++) {
      byte[] bytes = new byte[length];
      for (int at = 0; at < length; at++) bytes[at] = (byte) (at * at + length);
      long[] hash = ClickHouseCityHash.cityHash128(bytes, 0, length);
      hashes.add(String.format("%016x%016x", hash[0], hash[1]));
    }
    found.put("hashes", hashes);
    watcher = connect(url, arguments[1]);
    try (Connection connection = connect(url, arguments[1])) {
      found.put("valid", connection.isValid(5));
      types(connection);
      prepared(connection);
      metadata(connection);
      errors(connection);
      ends(connection, url, arguments[1]);
    }
    watcher.close();
    try (Connection stranger = connect(url, "wrong")) {
      stranger.createStatement().executeQuery("SELECT 1");
    } catch (SQLException error) {
      found.put("stranger", error.getMessage());
    }
    System.out.println(json(found));
  }

  private static Connection connect(String url, String key) throws SQLException {
    Properties properties = new Properties();
    properties.put("user", "anyone");
    properties.put("password", key);
    return DriverManager.getConnection(url, properties);
  }

  private static String one(Statement statement, String sql) throws SQLException {
    try (ResultSet rows = statement.executeQuery(sql)) {
      rows.next();
      return rows.getString(1);
    }
  }

  private static void types(Connection connection) throws SQLException {
    String sql = "SELECT 'é', toLowCardinality('x'), toDateTime64('2026-01-02 03:04:05.123456', 6, 'UTC'), [1, 2], map('a', 'b'),"
        + " CAST(NULL, 'Nullable(String)'), CAST(18446744073709551615, 'UInt64'), toDecimal64(1.25, 4), true, toUUID('019ab3f0-8c1b-7001-9f3e-5d2c8a417be6'), toDate('2026-01-02'), toFloat64(0.5)";
    try (ResultSet rows = connection.createStatement().executeQuery(sql)) {
      rows.next();
      ResultSetMetaData columns = rows.getMetaData();
      List<Object> values = new ArrayList<>();
      List<Object> types = new ArrayList<>();
      for (int at = 1; at <= columns.getColumnCount(); at++) {
        types.add(columns.getColumnTypeName(at));
        values.add(at == 4 ? Arrays.deepToString((Object[]) rows.getArray(at).getArray()) : String.valueOf(rows.getObject(at)));
      }
      found.put("types", types);
      found.put("values", values);
    }
  }

  private static void prepared(Connection connection) throws SQLException {
    String sql = "SELECT count(), ? FROM calls WHERE stream_offset < ? AND method != ?";
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      statement.setString(1, "it's \\ a 'text'");
      statement.setLong(2, 100);
      statement.setString(3, "x' OR 1 = 1 --");
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        found.put("prepared", List.of(rows.getLong(1), rows.getString(2)));
      }
    }
  }

  private static void metadata(Connection connection) throws SQLException {
    var metadata = connection.getMetaData();
    found.put("product", metadata.getDatabaseProductName());
    found.put("tables", names(metadata.getTables(null, "default", "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME"));
    found.put("columns", names(metadata.getColumns(null, "default", "calls", "%"), "COLUMN_NAME"));
    found.put("schemas", names(metadata.getSchemas(), "TABLE_SCHEM"));
    names(metadata.getCatalogs(), "TABLE_CAT");
    names(metadata.getTableTypes(), "TABLE_TYPE");
    names(metadata.getTypeInfo(), "TYPE_NAME");
    names(metadata.getPrimaryKeys(null, "default", "calls"), "COLUMN_NAME");
    names(metadata.getIndexInfo(null, "default", "calls", false, false), "INDEX_NAME");
    names(metadata.getImportedKeys(null, "default", "calls"), "FKTABLE_NAME");
    names(metadata.getProcedures(null, "default", "%"), "PROCEDURE_NAME");
    names(metadata.getFunctions(null, "default", "%"), "FUNCTION_NAME");
    found.put("keywords", metadata.getSQLKeywords().length() > 0);
  }

  private static List<Object> names(ResultSet rows, String column) throws SQLException {
    try (rows) {
      TreeSet<String> names = new TreeSet<>();
      while (rows.next()) names.add(String.valueOf(rows.getString(column)));
      return new ArrayList<>(names);
    }
  }

  private static void errors(Connection connection) throws SQLException {
    Map<String, String> statements = Map.of(
        "refused", "DROP TABLE calls",
        "unknown", "SELECT nothing FROM calls",
        "late", "SELECT number, throwIf(number = 900000, 'too late') FROM numbers(1000000)");
    for (var each : statements.entrySet())
      try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(each.getValue())) {
        while (rows.next()) { }
        found.put(each.getKey(), "no error");
      } catch (SQLException error) {
        found.put(each.getKey(), List.of(error.getErrorCode(), told(error)));
      }
  }

  private static String told(Throwable error) {
    StringBuilder text = new StringBuilder();
    for (Throwable each = error; each != null; each = each.getCause()) text.append(each.getMessage()).append('\n');
    return text.toString();
  }

  /** Each way to leave a query ends it in the engine. */
  private static void ends(Connection connection, String url, String key) throws Exception {
    Statement running = connection.createStatement();
    var answer = CompletableFuture.supplyAsync(() -> {
      try {
        return one(running, LONG);
      } catch (SQLException error) {
        return "ended";
      }
    });
    untilWorking(1);
    running.cancel();
    untilWorking(0);
    found.put("cancel", answer.get());
    try (Connection hurried = connect(url + "?clickhouse_setting_max_execution_time=1", key)) {
      found.put("timeout", one(hurried.createStatement(), LONG));
    } catch (SQLException error) {
      found.put("timeout", told(error));
    }
    untilWorking(0);
    Statement statement = connection.createStatement();
    ResultSet rows = statement.executeQuery("SELECT cityHash64(number) FROM numbers(3000000)");
    rows.next();
    rows.close();
    statement.close();
    untilWorking(0);
    found.put("after", one(connection.createStatement(), "SELECT 1"));
  }

  private static void untilWorking(int count) throws Exception {
    long deadline = System.nanoTime() + 40_000_000_000L;
    while (true) {
      // The question itself is among them.
      String text = one(watcher.createStatement(), "SELECT count() - 1 FROM system.processes WHERE query LIKE '%cityHash64(%'");
      if (text.equals(String.valueOf(count))) return;
      if (System.nanoTime() > deadline) throw new IllegalStateException(text + " queries work, not " + count);
      Thread.sleep(50);
    }
  }

  private static String json(Object value) {
    if (value instanceof Map<?, ?> map) {
      List<String> members = new ArrayList<>();
      map.forEach((key, each) -> members.add(json(key) + ":" + json(each)));
      return "{" + String.join(",", members) + "}";
    }
    if (value instanceof List<?> list) return "[" + String.join(",", list.stream().map(Reader::json).toList()) + "]";
    if (value instanceof Number || value instanceof Boolean) return value.toString();
    StringBuilder text = new StringBuilder("\"");
    for (char each : String.valueOf(value).toCharArray())
      text.append(each < ' ' || each == '"' || each == '\\' ? String.format("\\u%04x", (int) each) : String.valueOf(each));
    return text.append('"').toString();
  }
}
